"""Which frames of a stream are under way, awaited. frames.py is its twin."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc
import grpc.aio

from deweather_client import pictures
from deweather_client.frames import Owed, Request, frame_request, late
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
        self._changed = asyncio.Event()
        self._owed: Owed[T] = Owed()
        self._failure: BaseException | None = None  # of the source

    async def send(self, call: Call, start: Request, images: AsyncIterator[Any]) -> None:
        """Sends the stream's messages. An image is taken from the source when there is room for it. What the source
        raises ends the sending, as its end does."""
        sent = await _write(call, start)
        self._turn_to_source(True)
        number = 0
        while sent:
            await self._room.acquire()
            source = await self._take(images)
            if source is None:
                break
            self._enter(number, source)
            sent = await _write(call, frame_request(number, source))
            number += 1
        self._turn_to_source(False)
        if sent:
            await call.done_writing()

    async def next(self, call: Call, timeout: float) -> RestoreStreamResponse | None:
        """The next answer; None: there is no more."""
        asked_at = time.monotonic()
        answer = asyncio.ensure_future(call.read())
        try:
            while not answer.done():
                left = self._owed.left(asked_at, timeout)
                if left is not None and left <= 0:
                    self.raise_failure()
                    raise late(timeout)
                await self._change(answer, left)
        except BaseException:
            call.cancel()
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)
            raise
        found = await answer
        return found if isinstance(found, RestoreStreamResponse) else None

    def leave(self, number: int) -> pictures.Source[T]:
        """The answer of this frame is there."""
        self._room.release()
        return self._owed.leave(number)

    def raise_failure(self) -> None:
        """Raises what the source raised, if it did."""
        if self._failure is not None:
            raise self._failure

    async def _take(self, images: AsyncIterator[Any]) -> pictures.Source[T] | None:
        """The next picture; None: there is none, or the source failed."""
        try:
            return await read_picture(await images.__anext__())
        except StopAsyncIteration:
            pass
        except BaseException as failure:  # any: a source may await a task of its own that is cancelled
            self._failure = failure
        return None

    def _enter(self, number: int, source: pictures.Source[T]) -> None:
        self._owed.enter(number, source)
        self._changed.set()

    def _turn_to_source(self, at_source: bool) -> None:
        self._owed.turn_to_source(at_source)
        self._changed.set()

    async def _change(self, answer: asyncio.Future[Any], left: float | None) -> None:
        """Until the answer is there, or something else has changed, or the time is over."""
        self._changed.clear()
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({answer, changed}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()


async def _write(call: Call, message: Request) -> bool:
    """Whether it could be: where the call has ended, its own error comes with the answer."""
    try:
        await call.write(message)
    except (grpc.RpcError, asyncio.InvalidStateError):
        return False
    return True
