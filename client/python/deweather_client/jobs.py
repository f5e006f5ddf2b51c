"""Training jobs of the server."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import List

from deweather_client.connection import Connection
from deweather_client.errors import DeweatherError
from deweather_client.following import PATIENCE, Backoff, Fetch, Watch, no_answer, place_of
from deweather_client.job_requests import Config, listing, new_request_id, submission
from deweather_client.methods import (CANCEL_JOB, DELETE_JOB, DOWNLOAD_ARTIFACT, GET_JOB, LIST_CHECKPOINTS, LIST_JOBS,
                                      RESUME_JOB, STREAM_LOGS, SUBMIT_JOB, WATCH_JOB)
from deweather_client.v1.training_pb2 import (Artifact, CancelJobRequest, DeleteJobRequest, GetJobRequest, Job,
                                              JobEvent, ListCheckpointsRequest, ResumeJobRequest, StreamLogsRequest)


class Jobs:
    """`Client.jobs`. What comes back are the API's own messages: deweather_client.v1.training_pb2.

    Threads  thread-safe
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def submit(self, config: Config, *, labels: Mapping[str, str] | None = None, priority: int = 0,
               request_id: str | None = None, validate_only: bool = False, timeout: float | None = None) -> Job:
        """Makes a job.

        config         what deweather-train reads, but data sets by name: its text, a Path to a file of that, its fields
                       as a dict, or a TrainConfig
        labels         to find it by
        priority       -100 to 100, the highest first
        request_id     the same one again makes no other job; default: a random one
        validate_only  only checks: the job that comes back has no id
        """
        request = submission(config, labels, priority, request_id, validate_only)
        return self._connection.call(SUBMIT_JOB, request, timeout)

    def get(self, job: str, *, timeout: float | None = None) -> Job:
        return self._connection.call(GET_JOB, GetJobRequest(id=job), timeout)

    def list(self, *, states: Iterable[str] = (), labels: Mapping[str, str] | None = None, model: str = "",
             limit: int = 50, timeout: float | None = None) -> List[Job]:
        """The newest first; those in one of the states ("running"), with all of the labels, that make the model.
        limit 0: all."""
        request = listing(states, labels, model, limit)
        jobs: List[Job] = []
        while True:
            reply = self._connection.call(LIST_JOBS, request, timeout)
            jobs.extend(reply.jobs)
            request.page_token = reply.next_page_token
            if not request.page_token or 0 < limit <= len(jobs):
                return jobs[:limit or None]

    def watch(self, job: str, *, after: int = 0, patience: float = PATIENCE) -> Generator[JobEvent, None, None]:
        """What happens to a job, each event once and in order, until its end.

        after     number of the last event that is known
        patience  seconds for which it tries to go on after the connection is lost; a server that has not answered
                  once is waited for no longer than the client's timeout
        """
        watch, backoff = Watch(job, after), self._backoff(patience)
        while True:
            try:
                watch.see(self._ask(job, backoff))
                for event in self._connection.read(WATCH_JOB, watch.request, None):
                    if watch.take(event):
                        yield event
                        if watch.told_end:
                            return
                return watch.check_end()
            except DeweatherError as error:
                pause = backoff.after(error)
            time.sleep(pause)

    def logs(self, job: str, *, follow: bool = False, offset: int = 0,
             patience: float = PATIENCE) -> Generator[bytes, None, None]:
        """What its program has printed, and with `follow` prints until its end. Goes on as `watch` does."""
        request, backoff = StreamLogsRequest(id=job, offset=offset, follow=follow), self._backoff(patience)
        while True:
            try:
                self._ask(job, backoff)
                for chunk in self._connection.read(STREAM_LOGS, request, None):
                    request.offset = chunk.offset + len(chunk.data)
                    yield chunk.data
                return
            except DeweatherError as error:
                pause = backoff.after(error)
            time.sleep(pause)

    def cancel(self, job: str, *, reason: str = "", timeout: float | None = None) -> Job:
        return self._connection.call(CANCEL_JOB, CancelJobRequest(id=job, reason=reason), timeout)

    def resume(self, job: str, *, request_id: str | None = None, timeout: float | None = None) -> Job:
        """A new job that goes on where one ended."""
        request = ResumeJobRequest(id=job, request_id=request_id or new_request_id())
        return self._connection.call(RESUME_JOB, request, timeout)

    def delete(self, job: str, *, timeout: float | None = None) -> None:
        """Deletes a job that has ended, and its files."""
        self._connection.call(DELETE_JOB, DeleteJobRequest(id=job), timeout)

    def checkpoints(self, job: str, *, timeout: float | None = None) -> List[Artifact]:
        """All that can be downloaded: the newest checkpoint first."""
        request = ListCheckpointsRequest(id=job)
        return list(self._connection.call(LIST_CHECKPOINTS, request, timeout).artifacts)

    def download(self, job: str, name: str, to: str | os.PathLike[str], *, overwrite: bool = False,
                 patience: float = PATIENCE) -> Path:
        """A file of a job, by its name in `checkpoints`, to a file or into a folder; whole, or not at all."""
        fetch, backoff = Fetch(job, name, place_of(name, to), overwrite), self._backoff(patience)
        try:
            while True:
                try:
                    if not backoff.had_answer:
                        self._ask(job, backoff)
                    for chunk in self._connection.read(DOWNLOAD_ARTIFACT, fetch.begin(), None):
                        backoff.answered()
                        fetch.take(chunk)
                    fetch.check_end()
                    return fetch.commit()
                except DeweatherError as error:
                    pause = 0.0 if fetch.restart_if_changed(error) else backoff.after(error)
                time.sleep(pause)
        finally:
            fetch.discard()

    def _backoff(self, patience: float) -> Backoff:
        return Backoff(patience, self._connection.settings.timeout)

    def _ask(self, job: str, backoff: Backoff) -> Job:
        limit = backoff.limit()
        try:
            found = self.get(job, timeout=limit)
        except DeweatherError as error:
            raise no_answer(error, limit) from None
        backoff.answered()
        return found
