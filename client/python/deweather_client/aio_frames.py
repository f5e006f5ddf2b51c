"""Which frames of a stream are under way, awaited. frames.py is its twin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc
import grpc.aio

from deweather_client import pictures
from deweather_client.errors import make_error
from deweather_client.frames import Request
from deweather_client.v1.restoration_pb2 import RestoreStreamResponse

if TYPE_CHECKING:
    Call = grpc.aio.StreamStreamCall[Request, RestoreStreamResponse]

T = TypeVar("T")


async def read_picture(image: Any) -> pictures.Source[Any]:
    """As pictures.read. What takes a while does so in another thread."""
    if isinstance(image, bytes):
        return pictures.read(image)
    return await asyncio.to_thread(pictures.read, image)


class AsyncWindow(Generic[T]):
    """Frames that were sent and have no answer yet, at most so many.

    Threads  one event loop
    """

    def __init__(self, most: int) -> None:
        self._room = asyncio.Semaphore(most)
        self._busy = asyncio.Event()  # whether a frame is under way
        self._under_way: dict[int, pictures.Source[T]] = {}

    async def send(self, call: Call, start: Request, images: AsyncIterable[Any]) -> None:
        """Sends the stream's messages. An image is taken from the source when there is room for it."""
        await call.write(start)
        number = 0
        source_of = images.__aiter__()
        while True:
            await self._room.acquire()
            try:
                image = await source_of.__anext__()
            except StopAsyncIteration:
                break
            source = await read_picture(image)
            self._under_way[number] = source
            self._busy.set()
            await call.write(Request(frame=Request.Frame(id=number, image=source.file)))
            number += 1
        await call.done_writing()

    async def next(self, call: Call, sender: asyncio.Future[None], timeout: float) -> RestoreStreamResponse | None:
        """The next answer; None: there is no more. Raises what the source raised."""
        answer = asyncio.ensure_future(call.read())
        try:
            await self._wait(answer, sender, timeout)
        except BaseException:
            call.cancel()
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)
            raise
        found = await answer
        return found if isinstance(found, RestoreStreamResponse) else None

    def leave(self, number: int) -> pictures.Source[T]:
        """The answer of this frame is there."""
        source = self._under_way.pop(number)
        if not self._under_way:
            self._busy.clear()
        self._room.release()
        return source

    async def _wait(self, answer: asyncio.Future[Any], sender: asyncio.Future[None], timeout: float) -> None:
        """Until the answer is there. No time counts while nothing is under way."""
        busy = asyncio.ensure_future(self._busy.wait())
        try:
            await _first(answer, busy, sender)
        finally:
            busy.cancel()
        _raise_of(sender, answer)
        while not answer.done():
            waited = {answer} if sender.done() else {answer, sender}
            done, _ = await asyncio.wait(waited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            _raise_of(sender, answer)
            if not done:
                raise make_error("DEADLINE_EXCEEDED", f"no answer after {timeout:g} s; timeout allows more")


async def _first(answer: asyncio.Future[Any], busy: asyncio.Future[Any], sender: asyncio.Future[None]) -> None:
    """Until one of the first two is there."""
    _raise_of(sender, answer)
    while not (answer.done() or busy.done()):
        waited = {answer, busy} if sender.done() else {answer, busy, sender}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        _raise_of(sender, answer)


def _raise_of(sender: asyncio.Future[None], answer: asyncio.Future[Any]) -> None:
    """What the source raised; where the call itself ended, its own error comes with the answer."""
    if not sender.done() or sender.cancelled() or answer.done():
        return
    failure = sender.exception()
    if failure is not None and not isinstance(failure, (grpc.RpcError, asyncio.InvalidStateError)):
        raise failure
