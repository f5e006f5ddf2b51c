"""What a call ended with, as the server said it.

Where a message cannot be sent any more, as the server has ended the call, gRPC for asyncio puts an INTERNAL error of
its own in the place of the server's, before or after that has come (github.com/grpc/grpc/issues/36066).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc
import grpc.aio

T = TypeVar("T")

_OF_GRPC = "Internal error from Core"
_PATIENCE = 1.0  # seconds, for what is on its way


class CallEnd:
    """Hears how a call ends. REQUIRES: made when the call is.

    Threads  one event loop
    """

    def __init__(self, call: Any) -> None:
        self._error: grpc.aio.AioRpcError | None = None
        self._known = asyncio.Event()
        call.add_done_callback(self._take)  # is called with each of the two

    async def heard(self, error: grpc.RpcError) -> grpc.RpcError:
        """The server's error in place of gRPC's; any other as it is."""
        if not (isinstance(error, grpc.aio.AioRpcError) and error.details() == _OF_GRPC):
            return error
        try:
            await asyncio.wait_for(self._known.wait(), _PATIENCE)
        except asyncio.TimeoutError:
            pass
        return self._error or error

    def _take(self, call: Any) -> None:
        code, details = _now(call.code()), _now(call.details())
        if details == _OF_GRPC or code is grpc.StatusCode.OK:
            return
        trailers, headers = _now(call.trailing_metadata()), _now(call.initial_metadata())
        self._error = grpc.aio.AioRpcError(code, headers, trailers, details)
        self._known.set()


def _now(coroutine: Coroutine[Any, Any, T]) -> T:
    """What it returns. REQUIRES: the call has ended, so that there is nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as returned:
        value: T = returned.value
        return value
    finally:
        coroutine.close()
    raise AssertionError("gRPC waits for the end of a call that has ended")
