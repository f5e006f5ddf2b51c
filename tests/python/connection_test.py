"""The way to the server: restarts, use after close, event loops, request ids, servers that do not answer."""

import asyncio
import signal
import socket

import pytest
from harness import Server, encode, noise, wait_until

from deweather_client import AsyncClient, Client, DeweatherError, Unavailable
from deweather_client.attempts import channel_options
from deweather_client.following import Backoff, no_answer
from deweather_client.settings import make_settings

FILE = encode(noise(8, 8))


def works(client):
    try:
        client.restore(FILE)
    except Unavailable:
        return False
    return True


def test_a_server_that_was_restarted_is_found_again():
    with Server("--model", "identity") as first, Client(first.address) as client:
        client.restore(FILE)
        first.stop()
        assert not works(client)
        with Server("--model", "identity", listen=first.address):
            wait_until(lambda: works(client))


def test_a_channel_is_asked_again_after_two_seconds():
    """gRPC by itself leaves one alone for up to 20 s."""
    settings = make_settings(None, tls=None, tls_ca=None, tls_cert=None, tls_key=None, tls_name=None, token=None,
                             token_file=None, allow_plaintext_token=False, timeout=30, retries=3)
    options = dict(channel_options(settings, "agent"))
    assert options["grpc.min_reconnect_backoff_ms"] == options["grpc.max_reconnect_backoff_ms"] == 2000


def test_a_closed_client_says_so(server):
    client = Client(server.address)
    client.close()
    client.close()
    for call in (client.health, lambda: client.restore(FILE), lambda: client.restore_large(FILE),
                 lambda: list(client.restore_stream([FILE])), lambda: list(client.jobs.watch("job")),
                 lambda: client.models.import_file(__file__)):
        with pytest.raises(DeweatherError, match="CANCELLED: the client is closed"):
            call()

    async def main():
        client = AsyncClient(server.address)
        await client.health()
        await client.close()
        await client.close()
        for call in (client.health(), client.restore(FILE), client.restore_large(FILE), anext(client.jobs.watch("job")),
                     anext(client.restore_stream([FILE])), client.models.import_file(__file__)):
            with pytest.raises(DeweatherError, match="CANCELLED: the client is closed"):
                await call

    asyncio.run(main())


@pytest.fixture
def mute():
    """The address of a server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield "127.0.0.1:%d" % listening.getsockname()[1]


def test_what_is_under_way_ends_when_the_client_is_closed():
    """As an error, not as the end of the task that waits."""
    async def main():
        client = AsyncClient(silent.address)
        await client.health()
        silent.process.send_signal(signal.SIGSTOP)
        stream = client.restore_stream([FILE])
        calls = [asyncio.ensure_future(call) for call in
                 (client.restore(FILE), client.restore_large(FILE), anext(stream), anext(client.jobs.watch("job")),
                  client.models.import_file(__file__))]
        cancelled = asyncio.ensure_future(client.restore(FILE))
        done, _ = await asyncio.wait([*calls, cancelled], timeout=0.3)
        assert not done
        cancelled.cancel()
        await client.close()
        for call in calls:
            with pytest.raises(DeweatherError, match="CANCELLED: the client is closed"):
                await call
        with pytest.raises(asyncio.CancelledError):
            await cancelled

    with Server("--model", "identity") as silent:
        try:
            asyncio.run(main())
        finally:
            silent.process.send_signal(signal.SIGCONT)


def test_a_client_belongs_to_the_loop_of_its_first_call(server):
    client = AsyncClient(server.address)  # outside of any
    assert asyncio.run(client.health()) == "SERVING"

    async def another():
        with pytest.raises(RuntimeError, match="make one for each loop"):
            await client.health()
        await client.close()

    asyncio.run(another())


@pytest.mark.parametrize("wrong, says", [("b" * 200, "200 characters; it must have 1 to 128"), ("", "has 0 char"),
                                         ("\u00e9", "visible ASCII"), ("a\n", "visible ASCII"), ("a b", "visible")])
def test_request_ids_that_the_server_would_not_take(server, wrong, says):
    with Client(server.address) as client, pytest.raises(ValueError, match=says):
        client.restore(FILE, request_id=wrong)

    async def main():
        async with AsyncClient(server.address) as client:
            with pytest.raises(ValueError, match=says):
                await client.restore_large(FILE, request_id=wrong)
            with pytest.raises(TypeError, match="request_id is 7"):
                await client.restore(FILE, request_id=7)
            assert (await client.restore(FILE, request_id="b" * 128)).request_id == "b" * 128

    asyncio.run(main())


def jobs_calls(client, tmp_path, **options):
    yield lambda: list(client.jobs.watch("job", **options))
    yield lambda: list(client.jobs.logs("job", **options))
    yield lambda: client.jobs.download("job", "log.txt", tmp_path, **options)


def test_a_server_that_never_answered_is_not_waited_for(mute, tmp_path):
    """No longer than the timeout, however long the patience."""
    with Client(mute, timeout=1) as client:
        for call in jobs_calls(client, tmp_path):
            with pytest.raises(Unavailable):
                call()
    with Client("127.0.0.1:1", timeout=1) as client:
        for call in jobs_calls(client, tmp_path):
            with pytest.raises(Unavailable):
                call()
    with Client(mute) as client:
        for call in jobs_calls(client, tmp_path, patience=1):
            with pytest.raises(Unavailable):
                call()

    async def main():
        async with AsyncClient(mute, timeout=1) as client:
            with pytest.raises(Unavailable):
                await anext(client.jobs.watch("job"))
            with pytest.raises(Unavailable):
                await client.jobs.download("job", "log.txt", tmp_path)

    asyncio.run(main())
    assert list(tmp_path.iterdir()) == []


def test_patience_begins_with_the_first_answer():
    backoff = Backoff(3600, 10)
    assert 9 < backoff.limit() <= 10
    backoff.answered()
    assert backoff.limit() == 30
    assert backoff.after(Unavailable("UNAVAILABLE", "gone")) == 0.5
    assert backoff.limit() == 30
    impatient = Backoff(5, 3600)
    impatient.answered()
    assert 4 < impatient.limit() <= 5
    late = DeweatherError("UNAVAILABLE", "x")
    assert no_answer(late, 5) is late
