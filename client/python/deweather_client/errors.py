"""What a call ends with when it does not succeed."""

from __future__ import annotations

from typing import TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message

from deweather_client.v1 import restoration_pb2
from deweather_client.wire_pb2 import ErrorInfo, RetryInfo, Status

_DETAILS = "grpc-status-details-bin"
_REQUEST_ID = "x-request-id"
_CLOSED = "Channel closed!"  # so gRPC says it

Detail = TypeVar("Detail", bound=Message)


class DeweatherError(Exception):
    """An error of the server, or of the way to it.

    code         name of gRPC's code: "NOT_FOUND"
    message      for people: names the value and the limit
    reason       for programs: "UNKNOWN_MODEL"; empty where no server of ours answered; "CLIENT_CLOSED"
    retry_delay  seconds after which the same call may succeed; None: trying again makes no sense, or nobody knows
    request_id   what the server's log calls the request
    """

    def __init__(self, code: str, message: str, *, reason: str = "", retry_delay: float | None = None,
                 request_id: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.retry_delay = retry_delay
        self.request_id = request_id

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.code}: {self.message}{reason}"

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (self.code, self.message, self.reason, self.retry_delay, self.request_id)


class InvalidArgument(DeweatherError, ValueError):
    """Not a picture, or an option out of its range."""


class NotFound(DeweatherError):
    """No such model, job or data set."""


class ResourceExhausted(DeweatherError):
    """The server is full (then there is a retry_delay), a quota is used up, or a message is too large."""


class Unavailable(DeweatherError):
    """No server there, or one that is going down, or the model is not live."""


class DeadlineExceeded(DeweatherError, TimeoutError):
    """Not done within the timeout."""


class Unauthenticated(DeweatherError):
    """No token, or one that the server does not know."""


class PermissionDenied(DeweatherError):
    """The token does not allow this."""


_CLASSES: dict[str, type[DeweatherError]] = {
    "INVALID_ARGUMENT": InvalidArgument,
    "NOT_FOUND": NotFound,
    "RESOURCE_EXHAUSTED": ResourceExhausted,
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": PermissionDenied,
}
_NAMES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}


def make_error(code: str, message: str, *, reason: str = "", retry_delay: float | None = None,
               request_id: str = "") -> DeweatherError:
    """An error of the class that fits the code."""
    kind = _CLASSES.get(code, DeweatherError)
    return kind(code, message, reason=reason, retry_delay=retry_delay, request_id=request_id)


def closed(request_id: str = "") -> DeweatherError:
    """Of a call of a client that is closed, or was while it went on."""
    return make_error("CANCELLED", "the client is closed", reason="CLIENT_CLOSED", request_id=request_id)


def _again(code: str, message: str, reason: str, retry_delay: float | None, request_id: str) -> DeweatherError:
    return make_error(code, message, reason=reason, retry_delay=retry_delay, request_id=request_id)


def from_rpc(error: grpc.RpcError, request_id: str) -> DeweatherError:
    """gRPC's error, with what the server put beside it."""
    call = cast(grpc.Call, error)
    if call.code() is grpc.StatusCode.CANCELLED and call.details() == _CLOSED:
        return closed(request_id)
    trailers = {key: value for key, value in call.trailing_metadata() or ()}
    status = _parsed(Status, trailers.get(_DETAILS, b""))
    retry = _detail(status, RetryInfo)
    return make_error(call.code().name, call.details() or "", reason=_detail(status, ErrorInfo).reason,
                      retry_delay=_seconds(retry), request_id=_text(trailers.get(_REQUEST_ID)) or request_id)


def from_frame(error: restoration_pb2.FrameError, request_id: str) -> DeweatherError:
    """The error of one frame of a stream."""
    code = _NAMES.get(error.code, "UNKNOWN")
    return make_error(code, error.message, reason=error.reason, retry_delay=_seconds(error), request_id=request_id)


def _parsed(kind: type[Detail], data: bytes | str) -> Detail:
    message = kind()
    try:
        message.ParseFromString(data if isinstance(data, bytes) else b"")
    except DecodeError:
        message.Clear()
    return message


def _detail(status: Status, kind: type[Detail]) -> Detail:
    """The first detail of this kind; an empty one if there is none."""
    name = kind.DESCRIPTOR.name
    found = (any.value for any in status.details if any.type_url.rpartition("/")[2] == f"google.rpc.{name}")
    return _parsed(kind, next(found, b""))


def _seconds(message: RetryInfo | restoration_pb2.FrameError) -> float | None:
    if not message.HasField("retry_delay"):
        return None
    return max(0.0, message.retry_delay.seconds + message.retry_delay.nanos * 1e-9)


def _text(value: bytes | str | None) -> str:
    return value if isinstance(value, str) else ""
