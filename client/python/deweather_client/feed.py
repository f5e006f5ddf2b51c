"""What a stream sends, made in gRPC's thread; what goes wrong there belongs to the caller."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Feed(Generic[T]):
    """Iterates for gRPC. An exception is kept, and the call cancelled before gRPC could take it for the end.

    Threads  gRPC's iterates, the caller's does the rest
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self._started = threading.Event()
        self._cancel: Callable[[], object] | None = None
        self._failure: BaseException | None = None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        try:
            return next(self._items)
        except StopIteration:
            raise
        except BaseException as failure:
            self._failure = failure
        self._started.wait()
        if self._cancel is not None:
            self._cancel()
        raise StopIteration  # the thread ends in silence; nothing more is sent

    def started(self, cancel: Callable[[], object]) -> None:
        """The call is there. REQUIRES: called once, whoever iterates waits for it when it fails."""
        self._cancel = cancel
        self._started.set()

    def raise_failure(self) -> None:
        """Raises what iteration raised, if it did."""
        if self._failure is not None:
            raise self._failure
