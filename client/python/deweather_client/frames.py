"""Which frames of a stream are under way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from deweather_client import checks, pictures
from deweather_client.attempts import MAX_SEND_BYTES
from deweather_client.errors import DeweatherError, from_frame, make_error
from deweather_client.restored import Frame, make_restored
from deweather_client.v1 import restoration_pb2

T = TypeVar("T")
Request = restoration_pb2.RestoreStreamRequest
MAX_WINDOW = 16
# A server that drops frames stops reading with so many answers unread.
MAX_UNREAD = 1024
MAX_FRAME_BYTES = MAX_SEND_BYTES - 64  # of a file: a message holds its number too


def start_of(options: restoration_pb2.RestoreOptions, window: int, drop_oldest: bool) -> Request:
    """The first message."""
    window = checks.whole("window", window, 1, MAX_WINDOW)
    return Request(start=Request.Start(options=options, window=window, drop_oldest=drop_oldest))


def most_under_way(window: int, drop_oldest: bool) -> int:
    """Frames that are taken from the source ahead of the answers: so many that the server is never idle."""
    return MAX_UNREAD if drop_oldest else 2 * window


def check_images(images: object) -> None:
    """TypeError: one picture, or a name, which Python could iterate too."""
    one = isinstance(images, (str, bytes, bytearray, memoryview)) or pictures.is_image(images)
    if one or (pictures.is_array(images) and images.ndim < 4):  # type: ignore[attr-defined]
        raise TypeError(f"a stream takes many pictures: an iterable of them, not one {type(images).__name__}")


def frame_request(number: int, source: pictures.Source[Any]) -> Request:
    """The message of one frame. Of a file that is too large for one it holds nothing, which the server refuses as no
    picture: so its answer keeps its place."""
    file = source.file if len(source.file) <= MAX_FRAME_BYTES else b""
    return Request(frame=Request.Frame(id=number, image=file))


def frame_of(answer: restoration_pb2.RestoreStreamResponse, source: pictures.Source[T], request_id: str) -> Frame[T]:
    """What the server says of one frame."""
    number = answer.id
    if len(source.file) > MAX_FRAME_BYTES:
        return Frame(number, error=make_error(
            "INVALID_ARGUMENT", f"a frame of {len(source.file)} bytes is over the limit of {MAX_FRAME_BYTES} bytes; "
            "restore sends larger pictures in chunks", request_id=request_id))
    if answer.HasField("restored"):
        return Frame(number, make_restored(answer.restored, source, request_id))
    if answer.HasField("error"):
        return Frame(number, error=from_frame(answer.error, request_id))
    return Frame(number, dropped=True)


def late(timeout: float) -> DeweatherError:
    return make_error("DEADLINE_EXCEEDED", f"no answer after {timeout:g} s; timeout allows more")


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
            raise late(self._timeout)


class Owed(Generic[T]):
    """What the server owes: answers to the frames under way, or else the stream's begin or end. Where nothing but the
    source is waited for, it owes nothing.

    Threads  one at a time
    """

    def __init__(self) -> None:
        self.under_way: dict[int, pictures.Source[T]] = {}
        self._at_source = False  # whether the next frame is taken from the source
        self._due_at = 0.0  # since when the server owes what it owes

    def enter(self, number: int, source: pictures.Source[T]) -> None:
        """A frame is sent."""
        self._begin()
        self.under_way[number] = source

    def leave(self, number: int) -> pictures.Source[T]:
        """The answer of this frame is there."""
        self._due_at = time.monotonic()
        return self.under_way.pop(number)

    def turn_to_source(self, at_source: bool) -> None:
        self._begin()
        self._at_source = at_source

    def left(self, asked_at: float, timeout: float) -> float | None:
        """Seconds until it is late for a caller who has waited since `asked_at`; None: it owes nothing."""
        if self._at_source and not self.under_way:
            return None
        return max(asked_at, self._due_at) + timeout - time.monotonic()

    def _begin(self) -> None:
        if not self.under_way:
            self._due_at = time.monotonic()


class Window(Generic[T]):
    """Frames that were sent and have no answer yet, at most so many.

    Threads  thread-safe: gRPC's thread sends, the caller's reads, one more watches the time
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._changed = threading.Condition()
        # Guarded by _changed:
        self._owed: Owed[T] = Owed()
        self._asked_at: float | None = None  # since when the caller waits for an answer
        self._failure: BaseException | None = None  # of the source
        self._closed = False

    def requests(self, start: Request, images: Iterable[Any]) -> Iterator[Request]:
        """The stream's messages. An image is taken from the source when there is room for it. What the source raises
        ends them, as its end does."""
        yield start
        self._turn_to_source(True)  # the connection stands: gRPC asks for more
        sources = _sources(images)
        number = 0
        while self._wait_for_room() and (source := self._take(sources)) is not None:
            self._enter(number, source)
            yield frame_request(number, source)
            number += 1
        self._turn_to_source(False)

    def asks(self) -> None:
        """The caller waits from now on."""
        with self._changed:
            self._asked_at = time.monotonic()
            self._changed.notify_all()

    def leave(self, number: int) -> pictures.Source[T]:
        """The answer of this frame is there."""
        with self._changed:
            self._asked_at = None
            self._changed.notify_all()
            return self._owed.leave(number)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def raise_failure(self) -> None:
        """Raises what the source raised, if it did."""
        with self._changed:
            if self._failure is not None:
                raise self._failure

    def watch(self, timeout: float, give_up: Callable[[], object]) -> None:
        """Until it is closed: calls `give_up` once no answer has come for so long while one was due."""
        with self._changed:
            while not self._closed:
                left = self._left(timeout)
                if left is not None and left <= 0:
                    break
                self._changed.wait(left)
            else:
                return
        give_up()

    def _left(self, timeout: float) -> float | None:
        """Seconds until the server is late. None: nobody waits for it, or it owes nothing. REQUIRES: _changed is
        held."""
        return None if self._asked_at is None else self._owed.left(self._asked_at, timeout)

    def _take(self, sources: Iterator[pictures.Source[T]]) -> pictures.Source[T] | None:
        """The next picture; None: there is none, or the source failed."""
        try:
            return next(sources, None)
        except BaseException as failure:  # it is the caller's, and raised there
            with self._changed:
                self._failure = failure
        return None

    def _wait_for_room(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._owed.under_way) < self._most)
            return not self._closed

    def _enter(self, number: int, source: pictures.Source[T]) -> None:
        with self._changed:
            self._owed.enter(number, source)
            self._changed.notify_all()

    def _turn_to_source(self, at_source: bool) -> None:
        with self._changed:
            self._owed.turn_to_source(at_source)
            self._changed.notify_all()


def _sources(images: Iterable[Any]) -> Iterator[pictures.Source[Any]]:
    for image in images:
        yield pictures.read(image)
