"""Training jobs of the server, awaited. jobs.py is its twin, and says what everything means."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import List

from deweather_client.aio_connection import AsyncConnection
from deweather_client.errors import DeweatherError
from deweather_client.following import PATIENCE, Backoff, Fetch, Watch, no_answer, place_of
from deweather_client.job_requests import Config, listing, new_request_id, submission
from deweather_client.methods import (CANCEL_JOB, DELETE_JOB, DOWNLOAD_ARTIFACT, GET_JOB, LIST_CHECKPOINTS, LIST_JOBS,
                                      RESUME_JOB, STREAM_LOGS, SUBMIT_JOB, WATCH_JOB)
from deweather_client.v1.training_pb2 import (Artifact, CancelJobRequest, DeleteJobRequest, GetJobRequest, Job,
                                              JobEvent, ListCheckpointsRequest, ResumeJobRequest, StreamLogsRequest)


class AsyncJobs:
    """`AsyncClient.jobs`: as Jobs.

    Threads  one event loop
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def submit(self, config: Config, *, labels: Mapping[str, str] | None = None, priority: int = 0,
                     request_id: str | None = None, validate_only: bool = False, timeout: float | None = None) -> Job:
        request = submission(config, labels, priority, request_id, validate_only)
        return await self._connection.call(SUBMIT_JOB, request, timeout)

    async def get(self, job: str, *, timeout: float | None = None) -> Job:
        return await self._connection.call(GET_JOB, GetJobRequest(id=job), timeout)

    async def list(self, *, states: Iterable[str] = (), labels: Mapping[str, str] | None = None, model: str = "",
                   limit: int = 50, timeout: float | None = None) -> List[Job]:
        request = listing(states, labels, model, limit)
        jobs: List[Job] = []
        while True:
            reply = await self._connection.call(LIST_JOBS, request, timeout)
            jobs.extend(reply.jobs)
            request.page_token = reply.next_page_token
            if not request.page_token or 0 < limit <= len(jobs):
                return jobs[:limit or None]

    async def watch(self, job: str, *, after: int = 0, patience: float = PATIENCE) -> AsyncGenerator[JobEvent, None]:
        watch, backoff = Watch(job, after), self._backoff(patience)
        while True:
            try:
                watch.see(await self._ask(job, backoff))
                async with aclosing(self._connection.read(WATCH_JOB, watch.request, None)) as events:
                    async for event in events:
                        if watch.take(event):
                            yield event
                            if watch.told_end:
                                return
                watch.check_end()
                return
            except DeweatherError as error:
                pause = backoff.after(error)
            await asyncio.sleep(pause)

    async def logs(self, job: str, *, follow: bool = False, offset: int = 0,
                   patience: float = PATIENCE) -> AsyncGenerator[bytes, None]:
        request, backoff = StreamLogsRequest(id=job, offset=offset, follow=follow), self._backoff(patience)
        while True:
            try:
                await self._ask(job, backoff)
                async with aclosing(self._connection.read(STREAM_LOGS, request, None)) as parts:
                    async for chunk in parts:
                        request.offset = chunk.offset + len(chunk.data)
                        yield chunk.data
                return
            except DeweatherError as error:
                pause = backoff.after(error)
            await asyncio.sleep(pause)

    async def cancel(self, job: str, *, reason: str = "", timeout: float | None = None) -> Job:
        return await self._connection.call(CANCEL_JOB, CancelJobRequest(id=job, reason=reason), timeout)

    async def resume(self, job: str, *, request_id: str | None = None, timeout: float | None = None) -> Job:
        request = ResumeJobRequest(id=job, request_id=request_id or new_request_id())
        return await self._connection.call(RESUME_JOB, request, timeout)

    async def delete(self, job: str, *, timeout: float | None = None) -> None:
        await self._connection.call(DELETE_JOB, DeleteJobRequest(id=job), timeout)

    async def checkpoints(self, job: str, *, timeout: float | None = None) -> List[Artifact]:
        request = ListCheckpointsRequest(id=job)
        return list((await self._connection.call(LIST_CHECKPOINTS, request, timeout)).artifacts)

    async def download(self, job: str, name: str, to: str | os.PathLike[str], *, overwrite: bool = False,
                       patience: float = PATIENCE) -> Path:
        fetch, backoff = Fetch(job, name, place_of(name, to), overwrite), self._backoff(patience)
        try:
            while True:
                try:
                    if not backoff.had_answer:
                        await self._ask(job, backoff)
                    async with aclosing(self._connection.read(DOWNLOAD_ARTIFACT, fetch.begin(), None)) as parts:
                        async for chunk in parts:
                            backoff.answered()
                            fetch.take(chunk)
                    fetch.check_end()
                    return await asyncio.to_thread(fetch.commit)
                except DeweatherError as error:
                    pause = 0.0 if fetch.restart_if_changed(error) else backoff.after(error)
                await asyncio.sleep(pause)
        finally:
            fetch.discard()

    def _backoff(self, patience: float) -> Backoff:
        return Backoff(patience, self._connection.settings.timeout)

    async def _ask(self, job: str, backoff: Backoff) -> Job:
        limit = backoff.limit()
        try:
            found = await self.get(job, timeout=limit)
        except DeweatherError as error:
            raise no_answer(error, limit) from None
        backoff.answered()
        return found
