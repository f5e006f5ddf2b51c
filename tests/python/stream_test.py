"""Client.restore_stream against the real server: order, back-pressure, what fails, what is left."""

import asyncio
import itertools
import signal
import socket
import threading

import grpc
import numpy as np
import pytest
from harness import Server, encode, noise
from PIL import Image

from deweather_client import AsyncClient, Client, DeadlineExceeded, InvalidArgument, NotFound
from deweather_client.frames import MAX_FRAME_BYTES, Window, start_of
from deweather_client.v1.restoration_pb2 import RestoreOptions

pytestmark = pytest.mark.usefixtures("nothing_is_left")


def test_frames_come_in_order(client):
    frames = [noise(30 + i % 7, 20 + i % 5, seed=i) for i in range(60)]
    found = list(client.restore_stream(frames))
    assert [frame.number for frame in found] == list(range(60))
    for frame, pixels in zip(found, frames, strict=True):
        np.testing.assert_array_equal(frame.get().picture, pixels)


def test_frames_of_every_kind(client, tmp_path):
    (tmp_path / "in.png").write_bytes(encode(noise(9, 8)))
    array, path, file = client.restore_stream([noise(9, 8), tmp_path / "in.png", encode(noise(9, 8))])
    np.testing.assert_array_equal(array.get().picture, noise(9, 8))
    assert path.get().image == file.get().image


def test_no_frames(client):
    assert list(client.restore_stream([])) == []


@pytest.mark.parametrize("window", [1, 4])
def test_no_more_is_taken_than_the_window_allows(client, window):
    taken = itertools.count()
    seen = 0

    def source():
        nonlocal seen
        for seen in taken:
            yield encode(noise(20, 20))

    stream = client.restore_stream(source(), window=window)
    for number in range(20):
        assert next(stream).number == number
        assert seen <= number + 2 * window + 1
    stream.close()


def test_time_counts_only_while_an_answer_is_due():
    """Neither a slow source makes a server late nor a slow caller."""
    window = Window(4)

    def source():
        assert window._left(5) is None, "nothing is under way"
        yield b"frame"
        assert 0 < window._left(5) <= 5, "a frame is"

    requests = window.requests(start_of(RestoreOptions(), 4, False), source())
    window.asks()
    next(requests)
    assert 0 < window._left(5) <= 5, "the connection does not stand"
    next(requests)
    assert 0 < window._left(5) <= 5
    assert next(requests, None) is None
    window.raise_failure()
    window.leave(0)
    assert window._left(5) is None, "nobody waits"
    window.asks()
    assert 0 < window._left(5) <= 5, "the end is due"


def test_a_bad_frame_fails_alone(client):
    good = encode(noise(20, 10))
    frames = list(client.restore_stream([good, b"no picture", good]))
    assert frames[0].get().image == frames[2].get().image
    assert frames[1].error.reason == "INVALID_IMAGE"
    with pytest.raises(InvalidArgument):
        frames[1].get()


def test_what_the_source_raises_is_raised(client):
    def source():
        yield noise(8, 8)
        raise KeyError("camera")

    found = []
    with pytest.raises(KeyError, match="camera"):
        for frame in client.restore_stream(source()):
            found.append(frame.get())
    assert len(found) == 1, "what was sent before has its answer"
    with pytest.raises(TypeError, match="not int"):
        list(client.restore_stream([noise(8, 8), 7]))
    with pytest.raises(FileNotFoundError):
        list(client.restore_stream(["/nonexistent/frame.png"]))


@pytest.mark.parametrize("failure", [grpc.RpcError("camera"), asyncio.CancelledError("camera")])
def test_it_is_raised_as_it_is(client, failure):
    def source():
        raise failure
        yield

    with pytest.raises(type(failure), match="camera"):
        list(client.restore_stream(source()))


def test_a_frame_that_no_message_holds_fails_alone(client):
    good = encode(noise(20, 10))
    before, large, after = client.restore_stream([good, bytes(MAX_FRAME_BYTES + 1), good])
    assert before.get().image == after.get().image
    with pytest.raises(InvalidArgument, match="67108801 bytes is over the limit of 67108800"):
        large.get()


@pytest.mark.parametrize("one", ["a.jpg", b"picture", noise(8, 8), noise(8, 8, 1), Image.new("L", (1, 1))])
def test_one_picture_is_no_stream(client, one):
    for wrong in (client, AsyncClient(client._connection.settings.server)):
        with pytest.raises(TypeError, match="a stream takes many pictures"):
            wrong.restore_stream(one)


def test_an_array_of_frames_is_a_stream(client):
    frames = np.stack([noise(9, 8, seed=i) for i in range(3)])
    for frame, pixels in zip(client.restore_stream(frames), frames, strict=True):
        np.testing.assert_array_equal(frame.get().picture, pixels)


def test_options_are_checked(client):
    with pytest.raises(ValueError, match="window is 17"):
        client.restore_stream([], window=17)
    with pytest.raises(NotFound):
        list(client.restore_stream([noise(8, 8)], model="nobody"))


def test_dropped_frames_are_told(client):
    """Nothing is read while the source runs ahead: the oldest of what waits is dropped."""
    sent = threading.Event()

    def source():
        yield from (encode(noise(600, 500, seed=i)) for i in range(40))
        sent.set()

    stream = client.restore_stream(source(), window=1, drop_oldest=True)
    first = next(stream)
    assert sent.wait(60)
    found = [first, *stream]
    assert [frame.number for frame in found] == list(range(40))
    assert found[-1].restored is not None
    for frame in found:
        assert (frame.restored is None) == frame.dropped
    dropped = [frame for frame in found if frame.dropped]
    assert dropped
    with pytest.raises(Exception, match="ABORTED: frame"):
        dropped[0].get()


@pytest.mark.parametrize("images", [[], itertools.repeat(noise(8, 8))], ids=["none", "many"])
def test_a_server_that_does_not_answer_is_given_up(images):
    with Server("--model", "identity") as silent, Client(silent.address, timeout=1) as client:
        client.health()
        silent.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(DeadlineExceeded, match="no answer after 1 s"):
                list(client.restore_stream(images))
        finally:
            silent.process.send_signal(signal.SIGCONT)


def test_a_server_that_never_answered_is_given_up():
    """It does not even greet: a connection stands where its kernel accepts one."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        with Client("127.0.0.1:%d" % mute.getsockname()[1], timeout=1) as client:
            with pytest.raises(DeadlineExceeded, match="no answer after 1 s"):
                list(client.restore_stream([noise(8, 8)]))
