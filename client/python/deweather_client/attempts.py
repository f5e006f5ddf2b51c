"""When a call is sent again, and with what.

gRPC itself sends again what may be sent twice and was lost (UNAVAILABLE), by the service config below. Here is
the rest, which gRPC cannot tell apart: a server that is full says when to come back, one that goes down has not
touched the picture, and a picture that was lost with its server is sent once more and not again, as it may be
what the server died of. No code is in the hands of both.
"""

from __future__ import annotations

import json
import time
import uuid

import grpc

from deweather_client import checks
from deweather_client.errors import DeweatherError, ResourceExhausted, Unavailable, from_rpc
from deweather_client.methods import REPEATABLE
from deweather_client.settings import Settings, check_address, checked_timeout, is_loopback

MAX_SEND_BYTES = 64 << 20
MAX_RECEIVE_BYTES = 257 << 20  # a server's largest picture, and room for what is beside it
PAUSE = 0.2  # seconds, before a call that the server was not there for
MAX_LOST = 1
MAX_REQUEST_ID = 128  # characters; of a longer one the server makes another

Metadata = tuple[tuple[str, str], ...]
Options = list[tuple[str, object]]


def service_config(retries: int) -> str:
    """Retries of gRPC's own, throttled where most calls fail."""
    names = [{"service": method.service, "method": method.name} for method in REPEATABLE]
    policy = {"maxAttempts": min(retries + 1, 5), "initialBackoff": f"{PAUSE}s", "maxBackoff": "2s",
              "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}
    return json.dumps({"methodConfig": [{"name": names, "retryPolicy": policy}],
                       "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1}})


def channel_options(settings: Settings, agent: str) -> Options:
    """As the `deweather` command has them: back soon after a server was away, dead connections are noticed."""
    options: Options = [
        ("grpc.max_send_message_length", MAX_SEND_BYTES), ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
        ("grpc.primary_user_agent", agent), ("grpc.initial_reconnect_backoff_ms", 500),
        # The least is also the time in which a connection must come about: 20 s unless said, and as long a server that
        # is back may not be asked again.
        ("grpc.min_reconnect_backoff_ms", 2000), ("grpc.max_reconnect_backoff_ms", 2000),
        ("grpc.keepalive_time_ms", 360_000),
        ("grpc.keepalive_timeout_ms", 20_000), ("grpc.http2.max_pings_without_data", 0),
        ("grpc.enable_retries", int(settings.retries > 0))]
    if settings.retries > 0:
        options.append(("grpc.service_config", service_config(settings.retries)))
    if settings.tls_name:
        options.append(("grpc.ssl_target_name_override", settings.tls_name))
    if is_loopback(check_address(settings.server)):
        # No proxy has this machine's own addresses, nor is to see what is sent there in the clear.
        options.append(("grpc.enable_http_proxy", 0))
    return options


class Attempts:
    """The attempts of one call: one deadline and one request id for all of them.

    Threads  one thread or task
    """

    def __init__(self, settings: Settings, timeout: float | None, request_id: str | None = None,
                 picture: bool = False) -> None:
        seconds = checked_timeout(settings.timeout if timeout is None else timeout)
        self.timeout = seconds
        self.request_id = uuid.uuid4().hex if request_id is None else checked_request_id(request_id)
        self._token = settings.token
        self._end = time.monotonic() + seconds
        self._refused_left = settings.retries
        self._lost_left = min(MAX_LOST, settings.retries) if picture else 0
        self._picture = picture

    def left(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self._end - time.monotonic())

    def metadata(self) -> Metadata:
        return call_metadata(self._token(), self.request_id)

    def after(self, error: grpc.RpcError) -> float:
        """Seconds until the next attempt; raises the error if there is none."""
        failed = from_rpc(error, self.request_id)
        pause = self._pause(failed)
        if pause is None or pause >= self.left():
            raise failed from None
        return pause

    def _pause(self, error: DeweatherError) -> float | None:
        if isinstance(error, ResourceExhausted) and error.retry_delay:
            return self._spend_refusal(error.retry_delay)
        if not self._picture or not isinstance(error, Unavailable):
            return None
        if error.reason == "DRAINING":
            return self._spend_refusal(PAUSE)
        if error.reason or not self._lost_left:
            return None
        self._lost_left -= 1
        return PAUSE

    def _spend_refusal(self, pause: float) -> float | None:
        self._refused_left -= 1
        return pause if self._refused_left >= 0 else None


def checked_request_id(request_id: str) -> str:
    visible = all("!" <= character <= "~" for character in checks.text("request_id", request_id))
    if not (visible and 1 <= len(request_id) <= MAX_REQUEST_ID):
        raise ValueError(f"request_id has {len(request_id)} characters; it must have 1 to {MAX_REQUEST_ID} visible "
                         "ASCII characters")
    return request_id


def call_metadata(token: str, request_id: str) -> Metadata:
    bearer = (("authorization", f"Bearer {token}"),) if token else ()
    return (*bearer, ("x-request-id", request_id))


def too_large_for_a_message(error: grpc.RpcError) -> bool:
    """Whether chunks may do what a message could not. gRPC gives no reason when it refuses a size itself."""
    failed = from_rpc(error, "")
    return isinstance(failed, ResourceExhausted) and failed.reason in ("", "REPLY_SIZE")
