"""A client that waits for what it calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

import grpc

from deweather_client import chunks, frames, pictures
from deweather_client.attempts import Attempts, too_large_for_a_message
from deweather_client.connection import Connection
from deweather_client.datasets import Datasets
from deweather_client.errors import from_rpc
from deweather_client.jobs import Jobs
from deweather_client.methods import CHECK_HEALTH, RESTORE, RESTORE_LARGE, RESTORE_STREAM
from deweather_client.models import Models
from deweather_client.options import Options, restore_options
from deweather_client.restored import Frame, Restored, make_restored
from deweather_client.settings import File, Pem, make_settings
from deweather_client.v1.restoration_pb2 import RestoreOptions, RestoreRequest, RestoreResponse
from deweather_client.wire_pb2 import HealthCheckRequest, HealthCheckResponse

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from deweather_client.pictures import AnyPicture, FilePicture, Picture

OnProgress = Callable[[int, int], object]
T = TypeVar("T")
Frames = Generator[Frame[T], None, None]


class Client:
    """Restores pictures with a deweather-server, and trains on it.

    server                 HOST:PORT; default: DEWEATHER_SERVER, else 127.0.0.1:50051
    tls                    True: TLS, with this machine's authorities; the four below mean TLS too. False: plaintext,
                           whatever the environment says
    tls_ca                 authorities of the server's certificate, PEM: a path, or bytes; default: DEWEATHER_TLS_CA
    tls_cert, tls_key      of this client, where the server asks for one; default: DEWEATHER_TLS_CERT, DEWEATHER_TLS_KEY
    tls_name               that the server's certificate is for; default: DEWEATHER_TLS_NAME, else the host
    token, token_file      who calls; the file is read for each call; default: DEWEATHER_TOKEN_FILE
    allow_plaintext_token  whether a token may go without TLS to another machine
    timeout                seconds for one call, unless that says otherwise
    retries                how often a call that may be repeated is, within its timeout

    models, jobs, datasets  what else the server has

    Owns     a connection: `close` it, or use the client in a `with`
    Threads  thread-safe
    Errors   DeweatherError and its classes; ValueError and TypeError for what is wrong before anything is sent
    """

    def __init__(self, server: str | None = None, *, tls: bool | None = None, tls_ca: Pem | None = None,
                 tls_cert: Pem | None = None, tls_key: Pem | None = None, tls_name: str | None = None,
                 token: str | None = None, token_file: File | None = None, allow_plaintext_token: bool = False,
                 timeout: float = 30.0, retries: int = 3) -> None:
        settings = make_settings(server, tls=tls, tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key,
                                 tls_name=tls_name, token=token, token_file=token_file,
                                 allow_plaintext_token=allow_plaintext_token, timeout=timeout, retries=retries)
        self._connection = Connection(settings)
        self.models = Models(self._connection)
        self.jobs = Jobs(self._connection)
        self.datasets = Datasets(self._connection)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends what is under way."""
        self._connection.close()

    def health(self, service: str = "", *, timeout: float = 3.0) -> str:
        """ "SERVING" or "NOT_SERVING", of a service by its full name or of the whole server."""
        reply = self._connection.call(CHECK_HEALTH, HealthCheckRequest(service=service), timeout)
        return HealthCheckResponse.ServingStatus.Name(reply.status)

    @overload
    def restore(self, image: FilePicture, *, timeout: float | None = None, request_id: str | None = None,
                **options: Unpack[Options]) -> Restored[bytes]: ...

    @overload
    def restore(self, image: Picture, *, timeout: float | None = None, request_id: str | None = None,
                **options: Unpack[Options]) -> Restored[Picture]: ...

    def restore(self, image: AnyPicture, *, timeout: float | None = None, request_id: str | None = None,
                **options: Unpack[Options]) -> Restored[Any]:
        """Restores one picture: a file's bytes or path, a NumPy array, a Pillow image.

        In one message, or in chunks where the picture is too large for one. `options` are those of Options.
        """
        source = pictures.read(image)
        attempts = Attempts(self._connection.settings, timeout, request_id, picture=True)
        in_chunks = len(source.file) > chunks.MAX_MESSAGE_BYTES
        response = self._restore(source.file, restore_options(**options), attempts, in_chunks, None)
        return make_restored(response, source, attempts.request_id)

    @overload
    def restore_large(self, image: FilePicture, *, on_progress: OnProgress | None = None, timeout: float | None = None,
                      request_id: str | None = None, **options: Unpack[Options]) -> Restored[bytes]: ...

    @overload
    def restore_large(self, image: Picture, *, on_progress: OnProgress | None = None, timeout: float | None = None,
                      request_id: str | None = None, **options: Unpack[Options]) -> Restored[Picture]: ...

    def restore_large(self, image: AnyPicture, *, on_progress: OnProgress | None = None, timeout: float | None = None,
                      request_id: str | None = None, **options: Unpack[Options]) -> Restored[Any]:
        """As `restore`, in chunks; `on_progress` is told the tiles that are done, and all of them."""
        source = pictures.read(image)
        attempts = Attempts(self._connection.settings, timeout, request_id, picture=True)
        response = self._restore(source.file, restore_options(**options), attempts, True, on_progress)
        return make_restored(response, source, attempts.request_id)

    @overload
    def restore_stream(self, images: Iterable[FilePicture], *, window: int = 4, drop_oldest: bool = False,
                       timeout: float | None = None, **options: Unpack[Options]) -> Frames[bytes]: ...

    @overload
    def restore_stream(self, images: Iterable[Picture], *, window: int = 4, drop_oldest: bool = False,
                       timeout: float | None = None, **options: Unpack[Options]) -> Frames[Picture]: ...

    def restore_stream(self, images: Iterable[Any], *, window: int = 4, drop_oldest: bool = False,
                       timeout: float | None = None, **options: Unpack[Options]) -> Frames[Any]:
        """Restores frames of a camera or a video; one Frame for each, in order.

        window       frames that the server works on at a time, 1 to 16; at most twice as many are taken from `images`
                     ahead of the answers
        drop_oldest  whether frames that wait are dropped for newer ones; then `images` is taken as it comes
        timeout      seconds for one answer, not for the whole stream

        `images` is iterated in another thread; what it raises is raised here, after the answers of the frames before.
        A frame that fails does not end the stream: its Frame tells.
        """
        frames.check_images(images)
        start = frames.start_of(restore_options(**options), window, drop_oldest)
        attempts = Attempts(self._connection.settings, timeout)
        under_way: frames.Window[Any] = frames.Window(frames.most_under_way(window, drop_oldest))
        return self._stream(under_way.requests(start, images), under_way, attempts)

    def _restore(self, file: bytes, options: RestoreOptions, attempts: Attempts, in_chunks: bool,
                 on_progress: OnProgress | None) -> RestoreResponse:
        while True:
            try:
                if in_chunks:
                    return self._in_chunks(file, options, attempts, on_progress)
                return self._in_one(RestoreRequest(image=file, options=options), attempts)
            except grpc.RpcError as error:
                if not in_chunks and too_large_for_a_message(error):
                    in_chunks = True
                    continue
                pause = attempts.after(error)
            time.sleep(pause)

    def _in_one(self, request: RestoreRequest, attempts: Attempts) -> RestoreResponse:
        call = self._connection.channel.unary_unary(
            RESTORE.path, request_serializer=RESTORE.request.SerializeToString,
            response_deserializer=RESTORE.reply.FromString)
        reply: RestoreResponse = call(request, timeout=attempts.left(), metadata=attempts.metadata())
        return reply

    def _in_chunks(self, file: bytes, options: RestoreOptions, attempts: Attempts,
                   on_progress: OnProgress | None) -> RestoreResponse:
        start = self._connection.channel.stream_stream(
            RESTORE_LARGE.path, request_serializer=RESTORE_LARGE.request.SerializeToString,
            response_deserializer=RESTORE_LARGE.reply.FromString)
        call = start(chunks.large_requests(file, options), timeout=attempts.left(), metadata=attempts.metadata())
        reply = chunks.LargeReply()
        try:
            for part in call:
                progress = reply.take(part)
                if progress and on_progress:
                    on_progress(*progress)
        finally:
            call.cancel()
        return reply.finish()

    def _stream(self, requests: Iterator[frames.Request], under_way: frames.Window[T],
                attempts: Attempts) -> Frames[T]:
        start = self._connection.channel.stream_stream(
            RESTORE_STREAM.path, request_serializer=RESTORE_STREAM.request.SerializeToString,
            response_deserializer=RESTORE_STREAM.reply.FromString)
        call = start(requests, metadata=attempts.metadata())
        late = frames.Late(attempts.timeout, call.cancel)
        Thread(target=under_way.watch, args=(attempts.timeout, late), daemon=True).start()
        try:
            under_way.asks()
            for answer in call:
                yield frames.frame_of(answer, under_way.leave(answer.id), attempts.request_id)
                under_way.asks()
            under_way.raise_failure()
        except grpc.RpcError as error:
            under_way.raise_failure()
            late.raise_if_late()
            raise from_rpc(error, attempts.request_id) from None
        finally:
            under_way.close()
            call.cancel()
