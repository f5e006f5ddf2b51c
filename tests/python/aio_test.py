"""AsyncClient against the real server: many calls at once, streams, what fails."""

import asyncio
import itertools
import queue
import signal

import grpc
import numpy as np
import pytest
from harness import Server, encode, noise, smooth

from deweather_client import AsyncClient, Client, DeadlineExceeded, InvalidArgument, NotFound
from deweather_client.aio_connection import off_loop
from deweather_client.aio_frames import AsyncWindow
from deweather_client.frames import MAX_FRAME_BYTES, start_of
from deweather_client.v1.restoration_pb2 import RestoreOptions


pytestmark = pytest.mark.usefixtures("nothing_is_left")


def run(server, work, **options):
    """Runs work(client) in an event loop of its own."""

    async def main():
        async with AsyncClient(server.address, **options) as client:
            return await asyncio.wait_for(work(client), 120)

    return asyncio.run(main())


def test_64_calls_at_once(server):
    pictures = [noise(40 + i, 30, seed=i) for i in range(64)]
    started = []

    async def one(client, i):
        started.append(i)
        restored = await client.restore(pictures[i])
        assert len(started) == 64, "all have begun before the first has ended"
        return restored

    async def work(client):
        return await asyncio.gather(*(one(client, i) for i in range(64)))

    for restored, pixels in zip(run(server, work), pictures, strict=True):
        np.testing.assert_array_equal(restored.picture, pixels)


def test_the_same_bytes_as_the_other_client(server):
    file = encode(smooth(90, 60), "JPEG")
    with Client(server.address) as client:
        expected = client.restore(file)

    async def work(client):
        return await client.restore(file), await client.restore_large(file), await client.health()

    small, large, health = run(server, work)
    assert small.image == large.image == expected.image
    assert health == "SERVING"


def test_a_large_picture(server):
    pixels = noise(3500, 3300)
    restored = run(server, lambda client: client.restore(pixels), timeout=120)
    np.testing.assert_array_equal(restored.picture, pixels)


def test_errors(server):
    async def work(client):
        with pytest.raises(InvalidArgument) as caught:
            await client.restore(b"no picture")
        assert caught.value.reason == "INVALID_IMAGE"
        with pytest.raises(NotFound):
            await client.restore(encode(noise(8, 8)), model="nobody")
        with pytest.raises(NotFound):
            await client.models.get("nobody")
        with pytest.raises(FileNotFoundError):
            await client.restore("/nonexistent/in.png")
        with pytest.raises(FileNotFoundError):
            await client.models.import_file("/nonexistent/model.safetensors")

    run(server, work)


def test_a_cancelled_call_is_cancelled_on_the_server(server):
    async def work(client):
        call = asyncio.ensure_future(client.restore(noise(2000, 1500)))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    run(server, work)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_frames_come_in_order(server, asynchronous):
    frames = [noise(30 + i % 7, 20 + i % 5, seed=i) for i in range(40)]

    async def source():
        for frame in frames:
            await asyncio.sleep(0)
            yield frame

    async def work(client):
        return [frame async for frame in client.restore_stream(source() if asynchronous else frames)]

    found = run(server, work)
    assert [frame.number for frame in found] == list(range(40))
    for frame, pixels in zip(found, frames, strict=True):
        np.testing.assert_array_equal(frame.get().picture, pixels)


def test_no_more_is_taken_than_the_window_allows(server):
    seen = 0

    async def source():
        nonlocal seen
        for seen in itertools.count():
            yield encode(noise(20, 20))

    async def work(client):
        stream = client.restore_stream(source(), window=2)
        for number in range(20):
            assert (await stream.__anext__()).number == number
            assert seen <= number + 2 * 2 + 1
        await stream.aclose()

    run(server, work)


@pytest.mark.parametrize("failure", [KeyError("camera"), asyncio.CancelledError("camera"), grpc.RpcError("camera"),
                                     asyncio.InvalidStateError("camera")], ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_the_source_raises_is_raised(server, failure, asynchronous):
    """After the answers of what it gave before: also what calls of gRPC end with, and cancelled tasks."""
    def source():
        yield noise(8, 8)
        raise failure

    async def later():
        yield noise(8, 8)
        raise failure

    async def work(client):
        found = []
        with pytest.raises(type(failure), match="camera"):
            async for frame in client.restore_stream(later() if asynchronous else source()):
                found.append(frame.get())
        assert len(found) == 1

    run(server, work)


def test_frames_that_fail(server):
    async def work(client):
        with pytest.raises(NotFound):
            async for _ in client.restore_stream([noise(8, 8)], model="nobody"):
                pass
        frames = [frame async for frame in client.restore_stream([encode(noise(8, 8)), b"no picture"])]
        assert frames[0].restored is not None and frames[1].error.reason == "INVALID_IMAGE"
        assert [frame async for frame in client.restore_stream([])] == []
        large, small = [frame async for frame in client.restore_stream([bytes(MAX_FRAME_BYTES + 1), noise(8, 8)])]
        assert "67108801 bytes is over the limit of 67108800" in large.error.message
        assert small.restored is not None

    run(server, work)


def test_a_source_that_waits_for_ever_keeps_no_program_from_its_end(server):
    frames = queue.SimpleQueue()
    frames.put(encode(noise(8, 8)))

    async def work(client):
        async for frame in client.restore_stream(iter(frames.get, None)):
            return frame.get()

    assert run(server, work).image
    frames.put(None)  # the thread's end


@pytest.mark.parametrize("images", [[], itertools.repeat(noise(8, 8))], ids=["none", "many"])
def test_a_server_that_does_not_answer_is_given_up(images):
    async def work(client):
        await client.health()
        stream = client.restore_stream(images)
        silent.process.send_signal(signal.SIGSTOP)
        with pytest.raises(DeadlineExceeded, match="no answer after 1 s"):
            async for _ in stream:
                pass

    with Server("--model", "identity") as silent:
        try:
            run(silent, work, timeout=1)
        finally:
            silent.process.send_signal(signal.SIGCONT)


def test_time_counts_only_while_an_answer_is_due():
    """Neither a slow source makes a server late nor a slow caller; the end of the source does not stop the clock."""
    end = asyncio.Event()

    async def slow():
        await end.wait()
        return
        yield

    async def work():
        window = AsyncWindow(1)
        call = SilentCall()
        sender = asyncio.ensure_future(window.send(call, start_of(RestoreOptions(), 1, False), slow()))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(window.next(call, timeout=0.001), 0.1)
        end.set()
        with pytest.raises(DeadlineExceeded):
            await window.next(call, timeout=0.001)
        await sender

    asyncio.run(work())


def test_time_counts_until_the_connection_stands():
    async def work():
        window = AsyncWindow(1)
        call = SilentCall()
        call.write = lambda message: asyncio.Event().wait()
        sender = asyncio.ensure_future(window.send(call, start_of(RestoreOptions(), 1, False), off_loop([b"x"])))
        with pytest.raises(DeadlineExceeded):
            await window.next(call, timeout=0.001)
        sender.cancel()

    asyncio.run(work())


def test_the_window_holds_back_what_is_sent():
    """Whatever the connection would take."""
    taken = []

    async def source():
        for i in range(10):
            taken.append(i)
            yield b"frame"

    async def work():
        window = AsyncWindow(3)
        sender = asyncio.ensure_future(window.send(SilentCall(), start_of(RestoreOptions(), 1, False), source()))
        for most in (3, 4):
            done, _ = await asyncio.wait({sender}, timeout=0.1)
            assert not done and taken == list(range(most))
            window.leave(most - 3)
        sender.cancel()

    asyncio.run(work())


class SilentCall:
    """Takes whatever is sent, and never answers."""

    async def write(self, message):
        pass

    async def done_writing(self):
        pass

    async def read(self):
        await asyncio.Event().wait()

    def cancel(self):
        pass


def test_what_the_server_says_is_heard_however_much_is_being_sent(server):
    """gRPC for asyncio puts an error of its own in its place where a message could not be sent any more."""
    file = encode(noise(1500, 1000))

    async def work(client):
        for _ in range(60):
            with pytest.raises(NotFound, match="UNKNOWN_MODEL"):
                await client.restore_large(file, model="nobody")
            with pytest.raises(NotFound, match="UNKNOWN_MODEL"):
                async for _ in client.restore_stream([file] * 4, model="nobody"):
                    pass

    run(server, work)
