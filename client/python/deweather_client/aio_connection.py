"""Calls of a client that awaits them. connection.py is its twin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread
from typing import Optional, TypeVar

import grpc
import grpc.aio

from deweather_client.aio_call_end import CallEnd
from deweather_client.attempts import Attempts, channel_options
from deweather_client.errors import closed, from_rpc
from deweather_client.methods import Method, Reply, Request
from deweather_client.settings import Settings
from deweather_client.version import USER_AGENT

T = TypeVar("T")
_Step = tuple[Optional[tuple[T]], Optional[BaseException]]  # an item in a tuple, or None at the end; or what was raised


class AsyncConnection:
    """A channel to one server, and how it is called.

    Threads  one event loop: that of the first call
    Errors   DeweatherError
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channel: grpc.aio.Channel | None = None

    @property
    def channel(self) -> grpc.aio.Channel:
        """CANCELLED once it is closed; RuntimeError in another event loop than before."""
        if self._closed:
            raise closed()
        loop = asyncio.get_running_loop()
        if self._channel is None:
            self._loop, self._channel = loop, _open_channel(self.settings)
        if self._loop is not loop:
            raise RuntimeError("this AsyncClient belongs to the event loop of its first call; make one for each loop")
        return self._channel

    async def close(self) -> None:
        self._closed = True
        if self._channel is not None and self._loop is asyncio.get_running_loop():
            await self._channel.close()

    @contextmanager
    def calling(self) -> Generator[None, None, None]:
        """Around a call, which `close` cancels: that is an error, and not the end of the task that waits for it."""
        try:
            yield
        except asyncio.CancelledError:
            if self._closed and not _is_cancelled(asyncio.current_task()):
                raise closed() from None
            raise

    async def call(self, method: Method[Request, Reply], request: Request, timeout: float | None = None) -> Reply:
        """One request, one reply; again where the server says when."""
        attempts = Attempts(self.settings, timeout)
        while True:
            call = self.channel.unary_unary(method.path, request_serializer=method.request.SerializeToString,
                                            response_deserializer=method.reply.FromString)
            try:
                with self.calling():
                    reply: Reply = await call(request, timeout=attempts.left(), metadata=attempts.metadata())
                return reply
            except grpc.RpcError as error:
                pause = attempts.after(error)
            await asyncio.sleep(pause)

    async def read(self, method: Method[Request, Reply], request: Request,
                   timeout: float | None) -> AsyncGenerator[Reply, None]:
        """One request, replies as they come; without a timeout, for as long as they do."""
        attempts = Attempts(self.settings, timeout)
        start = self.channel.unary_stream(method.path, request_serializer=method.request.SerializeToString,
                                          response_deserializer=method.reply.FromString)
        call = start(request, timeout=timeout and attempts.left(), metadata=attempts.metadata())
        try:
            with self.calling():
                async for reply in call:
                    yield reply
        except grpc.RpcError as error:
            raise from_rpc(error, attempts.request_id) from None
        finally:
            call.cancel()

    async def send(self, method: Method[Request, Reply], requests: Iterable[Request], timeout: float) -> Reply:
        """Requests one after another, then one reply. `requests` is iterated in another thread; what it raises ends
        the call and is raised here."""
        attempts = Attempts(self.settings, timeout)
        start = self.channel.stream_unary(method.path, request_serializer=method.request.SerializeToString,
                                          response_deserializer=method.reply.FromString)
        call = start(timeout=attempts.left(), metadata=attempts.metadata())
        end = CallEnd(call)
        try:
            with self.calling():
                async for request in off_loop(requests):
                    await call.write(request)
                await call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            pass  # the server has answered already: its answer comes with the end of the call
        except BaseException:
            call.cancel()
            raise
        try:
            with self.calling():
                reply: Reply = await call
            return reply
        except grpc.RpcError as error:
            raise from_rpc(await end.heard(error), attempts.request_id) from None


def _open_channel(settings: Settings) -> grpc.aio.Channel:
    options = channel_options(settings, USER_AGENT)
    if settings.credentials is None:
        return grpc.aio.insecure_channel(settings.server, options)
    return grpc.aio.secure_channel(settings.server, settings.credentials, options)


def _is_cancelled(task: asyncio.Task[object] | None) -> bool:
    """Whether somebody wants its end. Python 3.10 does not know: there it is taken as so."""
    cancelling = getattr(task, "cancelling", None)
    return cancelling is None or cancelling() > 0


async def off_loop(items: Iterable[T]) -> AsyncGenerator[T, None]:
    """Iterates in a thread of its own: what reads files, or waits, keeps no event loop waiting. Nor does it keep the
    program from its end: nobody waits for the thread."""
    asked: SimpleQueue[asyncio.Future[_Step[T]] | None] = SimpleQueue()
    loop = asyncio.get_running_loop()
    Thread(target=_iterate, args=(items, asked, loop), daemon=True).start()
    try:
        while True:
            step: asyncio.Future[_Step[T]] = loop.create_future()
            asked.put(step)
            item, failure = await step
            if failure is not None:
                raise failure
            if item is None:
                return
            yield item[0]
    finally:
        asked.put(None)


def _iterate(items: Iterable[T], asked: SimpleQueue[asyncio.Future[_Step[T]] | None],
             loop: asyncio.AbstractEventLoop) -> None:
    """Takes an item for each future, until None."""
    steps = _steps(items)
    while (future := asked.get()) is not None:
        step: _Step[T]
        try:
            step = next(steps, None), None
        except BaseException as failure:
            step = None, failure
        try:
            loop.call_soon_threadsafe(_tell, future, step)
        except RuntimeError:
            return  # the loop is closed: nobody asks any more


def _steps(items: Iterable[T]) -> Iterator[tuple[T]]:
    for item in items:
        yield (item,)


def _tell(future: asyncio.Future[_Step[T]], step: _Step[T]) -> None:
    if not future.done():
        future.set_result(step)
