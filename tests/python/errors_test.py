"""Errors with everything that the server says of them, retries, deadlines."""

import asyncio
import hashlib
import pathlib
import pickle
import threading

import grpc
import numpy as np
import pytest
from fake_server import FakeServer, fail
from harness import encode, noise

from deweather_client import (AsyncClient, Client, DeadlineExceeded, DeweatherError, InvalidArgument, NotFound,
                              PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable)
from deweather_client.methods import DOWNLOAD_ARTIFACT, WATCH_JOB
from deweather_client.v1 import training_pb2

CODES = [(grpc.StatusCode.NOT_FOUND, NotFound), (grpc.StatusCode.INVALID_ARGUMENT, InvalidArgument),
         (grpc.StatusCode.RESOURCE_EXHAUSTED, ResourceExhausted), (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
         (grpc.StatusCode.UNAUTHENTICATED, Unauthenticated), (grpc.StatusCode.PERMISSION_DENIED, PermissionDenied),
         (grpc.StatusCode.UNAVAILABLE, Unavailable), (grpc.StatusCode.DATA_LOSS, DeweatherError)]


def failing(times, *args, **details):
    """An answer that fails so often, then succeeds; and the number of calls."""
    count = [0]
    lock = threading.Lock()

    def answer(name, request, context):
        with lock:
            count[0] += 1
            failed = count[0] <= times
        if failed:
            fail(context, *args, **details)

    return answer, count


@pytest.mark.parametrize("code, kind", CODES)
def test_an_error_has_all_that_the_server_says(code, kind):
    answer, _ = failing(99, code, "value 7 is over the limit 5", reason="SOME_REASON")
    with FakeServer(answer) as server, Client(server.address, retries=0) as client:
        with pytest.raises(DeweatherError) as caught:
            client.restore(b"x")
    error = caught.value
    assert type(error) is kind
    assert (error.code, error.message, error.reason) == (code.name, "value 7 is over the limit 5", "SOME_REASON")
    assert error.request_id == "of-the-server"
    assert error.retry_delay is None
    assert str(error) == f"{code.name}: value 7 is over the limit 5 (SOME_REASON)"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.request_id) == (kind, str(error), "of-the-server")


def test_some_are_errors_of_python_too():
    assert issubclass(InvalidArgument, ValueError) and issubclass(DeadlineExceeded, TimeoutError)


def test_errors_of_the_real_server(client):
    with pytest.raises(InvalidArgument) as caught:
        client.restore(b"no picture")
    assert caught.value.reason == "INVALID_IMAGE"
    with pytest.raises(NotFound) as caught:
        client.restore(encode(noise(8, 8)), model="nobody")
    assert caught.value.reason == "UNKNOWN_MODEL" and "nobody" in caught.value.message
    with pytest.raises(DeadlineExceeded):
        client.restore(encode(noise(2000, 2000)), timeout=0.001)
    with pytest.raises(DeweatherError, match="NO_DATA_FOLDER"):
        client.jobs.list()
    with pytest.raises(InvalidArgument):
        client.restore_large(b"")


def test_what_is_wrong_before_anything_is_sent(client):
    for wrong, says in (({"format": "gif"}, "jpeg, png, webp, tiff, bmp"), ({"metadata": "some"}, "preserve, strip"),
                        ({"priority": "high"}, "normal, background"), ({"timeout": 0}, "above 0"),
                        ({"seed": -1}, "seed is -1; it must be 0 to 18446744073709551615"),
                        ({"quality": 2**40}, "quality is 1099511627776; it must be 1 to 100"),
                        ({"strength": 1.5}, "strength is 1.5; it must be 0 to 1"),
                        ({"strength": float("nan")}, "strength is nan"), ({"timeout": 1e6}, "at most 86400")):
        with pytest.raises(ValueError, match=says):
            client.restore(encode(noise(8, 8)), **wrong)
    for wrong, says in (({"strength": "a"}, "strength is 'a'; it must be a number"),
                        ({"quality": 90.5}, "quality is 90.5; it must be a whole number"),
                        ({"timeout": "3"}, "timeout is '3'; it must be a number"), ({"model": 7}, "model is 7"),
                        ({"format": 7}, "format is 7"), ({"expert_map": "no"}, "expert_map is 'no'")):
        with pytest.raises(TypeError, match=says):
            client.restore(encode(noise(8, 8)), **wrong)
    numbers = {"quality": np.int64(90), "strength": np.float32(0.5), "seed": np.uint64(2**64 - 1)}
    assert client.restore(encode(noise(8, 8)), **numbers).image
    with pytest.raises(TypeError, match="dance"):
        client.restore(encode(noise(8, 8)), dance=True)
    for wrong in ("nowhere", "h:0", "h:65536", "a b:1", ":1", "[::1]"):
        with pytest.raises(ValueError, match="HOST:PORT"):
            Client(wrong)
    with pytest.raises(ValueError, match="0 to 10"):
        Client(retries=11)
    for wrong in ({"retries": 2.5}, {"retries": "3"}, {"timeout": "3"}, {"server": pathlib.Path("a:1")}):
        with pytest.raises(TypeError, match=f"{next(iter(wrong))} is "):
            Client(**wrong)
    for wrong, says in (({"priority": 2**40}, "priority is 1099511627776; it must be -100 to 100"),
                        ({"labels": {"camera": 1}}, "the label 'camera' is 1; it must be str")):
        with pytest.raises((ValueError, TypeError), match=says):
            client.jobs.submit("steps: 1", **wrong)


def test_nobody_is_there():
    with Client("127.0.0.1:1", timeout=5) as client:
        with pytest.raises(Unavailable) as caught:
            client.restore(b"x")
        assert caught.value.reason == "" and len(caught.value.request_id) == 32
        with pytest.raises(Unavailable):
            client.models.list()


def test_a_full_server_is_asked_again_when_it_says():
    answer, count = failing(2, grpc.StatusCode.RESOURCE_EXHAUSTED, reason="TILE_BUDGET", retry_delay=0.05)
    with FakeServer(answer) as server, Client(server.address) as client:
        assert client.restore(b"x").image == b"restored"
        assert count == [3]
        ids = {dict(metadata)["x-request-id"] for _, metadata in server.calls}
        assert len(ids) == 1, "one request, whatever it takes"
    answer, count = failing(99, grpc.StatusCode.RESOURCE_EXHAUSTED, reason="TILE_BUDGET", retry_delay=0.05)
    with FakeServer(answer) as server, Client(server.address, retries=2) as client:
        with pytest.raises(ResourceExhausted) as caught:
            client.restore(b"x")
        assert (count, caught.value.retry_delay) == ([3], 0.05)
    answer, count = failing(99, grpc.StatusCode.RESOURCE_EXHAUSTED, reason="TILE_BUDGET", retry_delay=60)
    with FakeServer(answer) as server, Client(server.address, timeout=30) as client:
        with pytest.raises(ResourceExhausted):  # at once: that would be too late
            client.restore(b"x")
    assert count == [1]


def test_a_full_server_that_says_no_time_is_not_asked_again():
    answer, count = failing(99, grpc.StatusCode.RESOURCE_EXHAUSTED, reason="MODEL_BUDGET")
    with FakeServer(answer) as server, Client(server.address) as client:
        with pytest.raises(ResourceExhausted):
            client.models.get("x")
    assert count == [1]


@pytest.mark.parametrize("reason, calls", [("DRAINING", 4), ("", 2), ("NO_LIVE_MODEL", 1)])
def test_pictures_are_sent_again_by_what_became_of_them(reason, calls):
    """Refused untouched: often; lost: once, it may be what the server died of; else never."""
    answer, count = failing(99, grpc.StatusCode.UNAVAILABLE, reason=reason)
    with FakeServer(answer) as server, Client(server.address) as client:
        with pytest.raises(Unavailable):
            client.restore(b"x")
    assert count == [calls]


def test_grpc_sends_again_what_may_be_sent_twice():
    answer, count = failing(2, grpc.StatusCode.UNAVAILABLE)
    with FakeServer(answer) as server, Client(server.address) as client:
        client.models.get("x")
    assert count == [3]
    answer, count = failing(2, grpc.StatusCode.UNAVAILABLE)
    with FakeServer(answer) as server, Client(server.address, retries=0) as client:
        with pytest.raises(Unavailable):
            client.models.get("x")
    assert count == [1]


def test_retries_of_asyncio():
    async def restore(address):
        async with AsyncClient(address) as client:
            await client.models.get("x")
            return await client.restore(b"x")

    for code, details in ((grpc.StatusCode.RESOURCE_EXHAUSTED, {"reason": "TILE_BUDGET", "retry_delay": 0.05}),
                          (grpc.StatusCode.UNAVAILABLE, {"reason": "DRAINING"})):
        answer, count = failing(2, code, **details)
        with FakeServer(answer) as server:
            assert asyncio.run(restore(server.address)).image == b"restored"
        assert count == [4]


def test_a_watch_goes_on_after_the_server_was_away():
    """Each event once, in order, though the connection is lost between any two."""
    asked = []

    def events(request, context):
        asked.append(request.after_event)
        first = max(1, request.after_event)  # one that is known comes again: it is left out
        for number in range(first, min(first + 3, 8)):
            event = training_pb2.JobEvent(number=number, warning=str(number))
            if number == 7:
                event.state_change.state = training_pb2.Job.STATE_SUCCEEDED
            yield event
        if request.after_event < 6:
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    with FakeServer(streams={WATCH_JOB: events}) as server, Client(server.address) as client:
        assert [event.number for event in client.jobs.watch("j")] == [1, 2, 3, 4, 5, 6, 7]
        assert asked[:2] == [0, 3]
        asked.clear()

        async def watch():
            async with AsyncClient(server.address) as other:
                return [event.number async for event in other.jobs.watch("j", after=2)]

        assert asyncio.run(watch()) == [3, 4, 5, 6, 7]


def test_a_watch_ends_with_its_patience():
    def events(request, context):
        context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        yield

    def unknown(name, request, context):
        fail(context, grpc.StatusCode.NOT_FOUND, reason="UNKNOWN_JOB")

    with FakeServer(unknown, streams={WATCH_JOB: events}) as server, Client(server.address) as client:
        with pytest.raises(NotFound):
            list(client.jobs.watch("j"))
    with Client(server.address, retries=0) as client:
        with pytest.raises(Unavailable):
            list(client.jobs.watch("j", patience=0.6))


class ChangingFile:
    """A file of a job whose connection breaks after each piece, and which is replaced by another one midway."""

    def __init__(self, *contents):
        self.contents = list(contents)
        self.offsets = []

    def __call__(self, request, context):
        self.offsets.append(request.offset)
        data = self.contents[0]
        sha256 = hashlib.sha256(data).hexdigest()
        if request.offset and request.sha256 != sha256:
            fail(context, grpc.StatusCode.ABORTED, reason="ARTIFACT_CHANGED")
        piece = data[request.offset:request.offset + 4]
        yield training_pb2.ArtifactChunk(bytes=len(data), sha256=sha256, offset=request.offset, data=piece)
        if len(self.contents) > 1:
            del self.contents[0]
        if request.offset + len(piece) < len(data):
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_download_goes_on_and_begins_again_when_the_file_changes(tmp_path, asynchronous):
    file = ChangingFile(b"old content", b"new content!")

    async def fetch():
        async with AsyncClient(server.address) as client:
            await client.jobs.download("j", "log.txt", tmp_path)

    with FakeServer(streams={DOWNLOAD_ARTIFACT: file}) as server:
        if asynchronous:
            asyncio.run(fetch())
        else:
            with Client(server.address) as client:
                client.jobs.download("j", "log.txt", tmp_path)
    assert file.offsets == [0, 4, 0, 4, 8]
    assert (tmp_path / "log.txt").read_bytes() == b"new content!"
    assert [path.name for path in tmp_path.iterdir()] == ["log.txt"]


def test_a_download_that_is_not_what_was_announced_is_lost(tmp_path):
    def wrong(request, context):
        yield training_pb2.ArtifactChunk(bytes=3, sha256="0" * 64, data=b"abc")

    with FakeServer(streams={DOWNLOAD_ARTIFACT: wrong}) as server, Client(server.address) as client:
        with pytest.raises(DeweatherError, match="DATA_LOSS"):
            client.jobs.download("j", "log.txt", tmp_path)
    assert list(tmp_path.iterdir()) == []
