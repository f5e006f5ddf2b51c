"""Which frames of a stream are under way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from deweather_client import pictures
from deweather_client.errors import from_frame, make_error
from deweather_client.restored import Frame, make_restored
from deweather_client.v1 import restoration_pb2

T = TypeVar("T")
Request = restoration_pb2.RestoreStreamRequest
MAX_WINDOW = 16
# A server that drops frames stops reading with so many answers unread.
MAX_UNREAD = 1024


def start_of(options: restoration_pb2.RestoreOptions, window: int, drop_oldest: bool) -> Request:
    """The first message."""
    if not 1 <= window <= MAX_WINDOW:
        raise ValueError(f"window is {window}; it must be 1 to {MAX_WINDOW}")
    return Request(start=Request.Start(options=options, window=window, drop_oldest=drop_oldest))


def most_under_way(window: int, drop_oldest: bool) -> int:
    """Frames that are taken from the source ahead of the answers: so many that the server is never idle."""
    return MAX_UNREAD if drop_oldest else 2 * window


def frame_of(answer: restoration_pb2.RestoreStreamResponse, source: pictures.Source[T], request_id: str) -> Frame[T]:
    """What the server says of one frame."""
    number = answer.id
    if answer.HasField("restored"):
        return Frame(number, make_restored(answer.restored, source, request_id))
    if answer.HasField("error"):
        return Frame(number, error=from_frame(answer.error, request_id))
    return Frame(number, dropped=True)


class Late:
    """Ends a stream whose answers do not come, and knows that it did."""

    def __init__(self, timeout: float, cancel: Callable[[], object]) -> None:
        self._timeout = timeout
        self._cancel = cancel
        self._late = False

    def __call__(self) -> None:
        self._late = True
        self._cancel()

    def raise_if_late(self) -> None:
        if self._late:
            raise make_error("DEADLINE_EXCEEDED", f"no answer after {self._timeout:g} s; timeout allows more")


class Window(Generic[T]):
    """Frames that were sent and have no answer yet, at most so many.

    Threads  thread-safe: gRPC's thread sends, the caller's reads, one more watches the time
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._changed = threading.Condition()
        # Guarded by _changed:
        self._under_way: dict[int, pictures.Source[T]] = {}
        self._asked_at: float | None = None  # since when the caller waits for an answer
        self._sent_at = 0.0  # when the first of what is under way was sent, or the last answer came
        self._closed = False

    def requests(self, start: Request, images: Iterable[Any]) -> Iterator[Request]:
        """The stream's messages. An image is taken from the source when there is room for it."""
        yield start
        source_of = iter(images)
        for number in range(2**63):
            if not self._wait_for_room():
                return
            try:
                source = pictures.read(next(source_of))
            except StopIteration:
                return
            self._enter(number, source)
            yield Request(frame=Request.Frame(id=number, image=source.file))

    def asks(self) -> None:
        """The caller waits from now on."""
        with self._changed:
            self._asked_at = time.monotonic()
            self._changed.notify_all()

    def leave(self, number: int) -> pictures.Source[T]:
        """The answer of this frame is there."""
        with self._changed:
            self._asked_at = None
            self._sent_at = time.monotonic()
            self._changed.notify_all()
            return self._under_way.pop(number)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def watch(self, timeout: float, late: Callable[[], object]) -> None:
        """Until it is closed: calls `late` once no answer has come for so long while one was due."""
        with self._changed:
            while not self._closed:
                left = self._left(timeout)
                if left is not None and left <= 0:
                    break
                self._changed.wait(left)
            else:
                return
        late()

    def _left(self, timeout: float) -> float | None:
        """REQUIRES: _changed is held."""
        if self._asked_at is None or not self._under_way:
            return None
        return max(self._asked_at, self._sent_at) + timeout - time.monotonic()

    def _wait_for_room(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._under_way) < self._most)
            return not self._closed

    def _enter(self, number: int, source: pictures.Source[T]) -> None:
        with self._changed:
            if not self._under_way:
                self._sent_at = time.monotonic()
            self._under_way[number] = source
            self._changed.notify_all()
