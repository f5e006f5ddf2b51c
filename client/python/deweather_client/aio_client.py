"""A client that awaits what it calls. client.py is its twin, and says what everything means."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, Union, overload

import grpc

from deweather_client import chunks, frames
from deweather_client.aio_call_end import CallEnd
from deweather_client.aio_connection import AsyncConnection, off_loop
from deweather_client.aio_datasets import AsyncDatasets
from deweather_client.aio_frames import AsyncWindow, read_picture
from deweather_client.aio_jobs import AsyncJobs
from deweather_client.aio_models import AsyncModels
from deweather_client.attempts import Attempts, too_large_for_a_message
from deweather_client.client import OnProgress
from deweather_client.errors import from_rpc
from deweather_client.methods import CHECK_HEALTH, RESTORE, RESTORE_LARGE, RESTORE_STREAM
from deweather_client.options import Options, restore_options
from deweather_client.restored import Frame, Restored, make_restored
from deweather_client.settings import File, Pem, make_settings
from deweather_client.v1.restoration_pb2 import RestoreOptions, RestoreRequest, RestoreResponse
from deweather_client.wire_pb2 import HealthCheckRequest, HealthCheckResponse

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from deweather_client.pictures import AnyPicture, FilePicture, Picture

T = TypeVar("T")
Images = Union[Iterable[T], AsyncIterable[T]]
AsyncFrames = AsyncGenerator[Frame[T], None]


class AsyncClient:
    """As Client, for asyncio.

    Owns     a connection: `close` it, or use the client in an `async with`
    Threads  one event loop: that of the first call
    """

    def __init__(self, server: str | None = None, *, tls: bool | None = None, tls_ca: Pem | None = None,
                 tls_cert: Pem | None = None, tls_key: Pem | None = None, tls_name: str | None = None,
                 token: str | None = None, token_file: File | None = None, allow_plaintext_token: bool = False,
                 timeout: float = 30.0, retries: int = 3) -> None:
        settings = make_settings(server, tls=tls, tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key,
                                 tls_name=tls_name, token=token, token_file=token_file,
                                 allow_plaintext_token=allow_plaintext_token, timeout=timeout, retries=retries)
        self._connection = AsyncConnection(settings)
        self.models = AsyncModels(self._connection)
        self.jobs = AsyncJobs(self._connection)
        self.datasets = AsyncDatasets(self._connection)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends what is under way."""
        await self._connection.close()

    async def health(self, service: str = "", *, timeout: float = 3.0) -> str:
        """ "SERVING" or "NOT_SERVING", of a service by its full name or of the whole server."""
        reply = await self._connection.call(CHECK_HEALTH, HealthCheckRequest(service=service), timeout)
        return HealthCheckResponse.ServingStatus.Name(reply.status)

    @overload
    async def restore(self, image: FilePicture, *, timeout: float | None = None, request_id: str | None = None,
                      **options: Unpack[Options]) -> Restored[bytes]: ...

    @overload
    async def restore(self, image: Picture, *, timeout: float | None = None, request_id: str | None = None,
                      **options: Unpack[Options]) -> Restored[Picture]: ...

    async def restore(self, image: AnyPicture, *, timeout: float | None = None, request_id: str | None = None,
                      **options: Unpack[Options]) -> Restored[Any]:
        """As Client.restore. `.picture` and `.array` of what comes back decode where they are asked for."""
        source = await read_picture(image)
        attempts = Attempts(self._connection.settings, timeout, request_id, picture=True)
        in_chunks = len(source.file) > chunks.MAX_MESSAGE_BYTES
        response = await self._restore(source.file, restore_options(**options), attempts, in_chunks, None)
        return make_restored(response, source, attempts.request_id)

    @overload
    async def restore_large(self, image: FilePicture, *, on_progress: OnProgress | None = None,
                            timeout: float | None = None, request_id: str | None = None,
                            **options: Unpack[Options]) -> Restored[bytes]: ...

    @overload
    async def restore_large(self, image: Picture, *, on_progress: OnProgress | None = None,
                            timeout: float | None = None, request_id: str | None = None,
                            **options: Unpack[Options]) -> Restored[Picture]: ...

    async def restore_large(self, image: AnyPicture, *, on_progress: OnProgress | None = None,
                            timeout: float | None = None, request_id: str | None = None,
                            **options: Unpack[Options]) -> Restored[Any]:
        """As Client.restore_large."""
        source = await read_picture(image)
        attempts = Attempts(self._connection.settings, timeout, request_id, picture=True)
        response = await self._restore(source.file, restore_options(**options), attempts, True, on_progress)
        return make_restored(response, source, attempts.request_id)

    @overload
    def restore_stream(self, images: Images[FilePicture], *, window: int = 4, drop_oldest: bool = False,
                       timeout: float | None = None, **options: Unpack[Options]) -> AsyncFrames[bytes]: ...

    @overload
    def restore_stream(self, images: Images[Picture], *, window: int = 4, drop_oldest: bool = False,
                       timeout: float | None = None, **options: Unpack[Options]) -> AsyncFrames[Picture]: ...

    def restore_stream(self, images: Images[Any], *, window: int = 4, drop_oldest: bool = False,
                       timeout: float | None = None, **options: Unpack[Options]) -> AsyncFrames[Any]:
        """As Client.restore_stream. `images` may be asynchronous; if it is not, it is iterated in another thread."""
        frames.check_images(images)
        start = frames.start_of(restore_options(**options), window, drop_oldest)
        attempts = Attempts(self._connection.settings, timeout)
        under_way: AsyncWindow[Any] = AsyncWindow(frames.most_under_way(window, drop_oldest))
        source = images if isinstance(images, AsyncIterable) else off_loop(images)
        return self._stream(start, source.__aiter__(), under_way, attempts)

    async def _restore(self, file: bytes, options: RestoreOptions, attempts: Attempts, in_chunks: bool,
                       on_progress: OnProgress | None) -> RestoreResponse:
        while True:
            try:
                if in_chunks:
                    return await self._in_chunks(file, options, attempts, on_progress)
                return await self._in_one(RestoreRequest(image=file, options=options), attempts)
            except grpc.RpcError as error:
                if not in_chunks and too_large_for_a_message(error):
                    in_chunks = True
                    continue
                pause = attempts.after(error)
            await asyncio.sleep(pause)

    async def _in_one(self, request: RestoreRequest, attempts: Attempts) -> RestoreResponse:
        call = self._connection.channel.unary_unary(
            RESTORE.path, request_serializer=RESTORE.request.SerializeToString,
            response_deserializer=RESTORE.reply.FromString)
        with self._connection.calling():
            reply: RestoreResponse = await call(request, timeout=attempts.left(), metadata=attempts.metadata())
        return reply

    async def _in_chunks(self, file: bytes, options: RestoreOptions, attempts: Attempts,
                         on_progress: OnProgress | None) -> RestoreResponse:
        start = self._connection.channel.stream_stream(
            RESTORE_LARGE.path, request_serializer=RESTORE_LARGE.request.SerializeToString,
            response_deserializer=RESTORE_LARGE.reply.FromString)
        call = start(chunks.large_requests(file, options), timeout=attempts.left(), metadata=attempts.metadata())
        end = CallEnd(call)
        reply = chunks.LargeReply()
        try:
            with self._connection.calling():
                async for part in call:
                    progress = reply.take(part)
                    if progress and on_progress:
                        on_progress(*progress)
        except grpc.RpcError as error:
            raise await end.heard(error) from None
        finally:
            call.cancel()
        return reply.finish()

    async def _stream(self, start: frames.Request, images: AsyncIterator[Any], under_way: AsyncWindow[T],
                      attempts: Attempts) -> AsyncFrames[T]:
        begin = self._connection.channel.stream_stream(
            RESTORE_STREAM.path, request_serializer=RESTORE_STREAM.request.SerializeToString,
            response_deserializer=RESTORE_STREAM.reply.FromString)
        call = begin(metadata=attempts.metadata())
        end = CallEnd(call)
        sender = asyncio.ensure_future(under_way.send(call, start, images))
        try:
            with self._connection.calling():
                while (answer := await under_way.next(call, attempts.timeout)) is not None:
                    yield frames.frame_of(answer, under_way.leave(answer.id), attempts.request_id)
            under_way.raise_failure()
        except grpc.RpcError as error:
            under_way.raise_failure()
            raise from_rpc(await end.heard(error), attempts.request_id) from None
        finally:
            call.cancel()
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
