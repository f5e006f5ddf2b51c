"""Calls of a client that waits for them."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from typing import TypeVar

import grpc

from deweather_client.attempts import Attempts, channel_options
from deweather_client.errors import closed, from_rpc
from deweather_client.feed import Feed
from deweather_client.methods import Method, Reply, Request
from deweather_client.settings import Settings
from deweather_client.version import USER_AGENT

T = TypeVar("T")


class Connection:
    """A channel to one server, and how it is called.

    Threads  thread-safe
    Errors   DeweatherError
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._closed = False
        options = channel_options(settings, USER_AGENT)
        if settings.credentials is None:
            self._channel = grpc.insecure_channel(settings.server, options)
        else:
            self._channel = grpc.secure_channel(settings.server, settings.credentials, options)

    @property
    def channel(self) -> grpc.Channel:
        """CANCELLED once it is closed."""
        if self._closed:
            raise closed()
        return self._channel

    def close(self) -> None:
        self._closed = True
        self._channel.close()

    def call(self, method: Method[Request, Reply], request: Request, timeout: float | None = None) -> Reply:
        """One request, one reply; again where the server says when."""
        attempts = Attempts(self.settings, timeout)
        while True:
            call = self.channel.unary_unary(method.path, request_serializer=method.request.SerializeToString,
                                            response_deserializer=method.reply.FromString)
            try:
                reply: Reply = call(request, timeout=attempts.left(), metadata=attempts.metadata())
                return reply
            except grpc.RpcError as error:
                pause = attempts.after(error)
            time.sleep(pause)

    def read(self, method: Method[Request, Reply], request: Request,
             timeout: float | None) -> Generator[Reply, None, None]:
        """One request, replies as they come; without a timeout, for as long as they do."""
        attempts = Attempts(self.settings, timeout)
        start = self.channel.unary_stream(method.path, request_serializer=method.request.SerializeToString,
                                          response_deserializer=method.reply.FromString)
        call = start(request, timeout=timeout and attempts.left(), metadata=attempts.metadata())
        try:
            yield from call
        except grpc.RpcError as error:
            raise from_rpc(error, attempts.request_id) from None
        finally:
            call.cancel()

    def send(self, method: Method[Request, Reply], requests: Iterable[Request], timeout: float) -> Reply:
        """Requests one after another, then one reply. What `requests` raises ends the call and is raised here."""
        attempts = Attempts(self.settings, timeout)
        start = self.channel.stream_unary(method.path, request_serializer=method.request.SerializeToString,
                                          response_deserializer=method.reply.FromString)
        feed = Feed(requests)
        call = start.future(feed, timeout=attempts.left(), metadata=attempts.metadata())
        feed.started(call.cancel)
        try:
            reply: Reply = call.result()
            return reply
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            feed.raise_failure()
            if isinstance(error, grpc.FutureCancelledError):
                raise
            raise from_rpc(error, attempts.request_id) from None
