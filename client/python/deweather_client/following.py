"""Going on after a server was away: it restarts, a laptop sleeps, a network fails. No call is made here."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from deweather_client.errors import DeadlineExceeded, DeweatherError, InvalidArgument, Unavailable, make_error
from deweather_client.job_requests import ENDED
from deweather_client.v1 import training_pb2
from deweather_client.whole_file import WholeFile

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 2.0
ANSWER = 30.0  # seconds, for a server that is there
LEAST = 1.0  # for the last question
PATIENCE = 3600.0  # seconds without an answer, once there was one
MAX_RESTARTS = 5  # of one file that changes while it is fetched, as a log does


def is_broken(error: DeweatherError) -> bool:
    """Whether the server was away, the connection broke, or we read too slowly. What a server refuses has a reason."""
    if isinstance(error, DeadlineExceeded):
        return error.reason == "STREAM_IDLE"
    return isinstance(error, Unavailable) or (error.code in ("CANCELLED", "INTERNAL", "UNKNOWN") and not error.reason)


class Backoff:
    """The pauses between attempts, each twice the one before, for as long as the patience lasts. Until the server has
    answered once that is no longer than a call's timeout: it may not be there at all.

    Threads  one thread or task
    """

    def __init__(self, patience: float, timeout: float) -> None:
        self._patience = patience
        self._allowed = min(patience, timeout)
        self.had_answer = False
        self._pause = FIRST_PAUSE
        self._failing_since: float | None = time.monotonic()

    def answered(self) -> None:
        """The server is there: the next failure is a first one."""
        self.had_answer = True
        self._failing_since = None
        self._allowed = self._patience
        self._pause = FIRST_PAUSE

    def limit(self) -> float:
        """Seconds for the next question."""
        return max(LEAST, min(ANSWER, self._left()))

    def after(self, error: DeweatherError) -> float:
        """Seconds until the next attempt; raises the error if there is none."""
        if self._failing_since is None:
            self._failing_since = time.monotonic()
        left = self._left()
        if not is_broken(error) or left <= 0:
            raise error
        pause = min(self._pause, left)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return pause

    def _left(self) -> float:
        now = time.monotonic()
        return (now if self._failing_since is None else self._failing_since) + self._allowed - now


def no_answer(error: DeweatherError, seconds: float) -> DeweatherError:
    """Of the question that comes before a stream, which may be silent for hours: no answer means no server."""
    late = isinstance(error, DeadlineExceeded) and not error.reason
    return make_error("UNAVAILABLE", f"no answer within {seconds:.3g} s") if late else error


class Watch:
    """Where a watch of a job is."""

    def __init__(self, job: str, after: int) -> None:
        self.request = training_pb2.WatchJobRequest(id=job, after_event=after)
        self.told_end = False  # that event was taken: nothing follows
        self._ended = False

    def see(self, job: training_pb2.Job) -> None:
        """How the job stood when it was asked for."""
        self._ended = job.state in ENDED

    def take(self, event: training_pb2.JobEvent) -> bool:
        """Whether it is a new one."""
        if event.number <= self.request.after_event:
            return False
        self.request.after_event = event.number
        if event.HasField("state_change"):
            self.told_end = event.state_change.state in ENDED
        return True

    def check_end(self) -> None:
        """The stream has ended well: so must have the job."""
        if not self._ended:
            raise make_error("UNAVAILABLE", "the server ended the watch before the job's end")


class Fetch:
    """A download of one file of a job.

    Owns     the unfinished file, until `commit` or `discard`
    Threads  one thread or task
    """

    def __init__(self, job: str, name: str, to: Path, overwrite: bool) -> None:
        self.request = training_pb2.DownloadArtifactRequest(id=job, name=name)
        self._to = to
        self._file = WholeFile(to, overwrite)
        self._sha256 = hashlib.sha256()
        self._restarts_left = MAX_RESTARTS
        self._first = True
        self._total = -1

    def begin(self) -> training_pb2.DownloadArtifactRequest:
        """What the next call asks for: the rest."""
        self._first = True
        return self.request

    def take(self, chunk: training_pb2.ArtifactChunk) -> None:
        if self._first:
            self._first = False
            self._total = chunk.bytes
            if not self.request.sha256:
                self.request.sha256 = chunk.sha256
        self._file.write(chunk.data)
        self._sha256.update(chunk.data)
        self.request.offset += len(chunk.data)

    def check_end(self) -> None:
        """The stream has ended well: so must have the file."""
        if self.request.offset != self._total:
            raise make_error("UNAVAILABLE", "the server sent less than the file")

    def restart_if_changed(self, error: DeweatherError) -> bool:
        """Whether the file is another one now: the next call begins again."""
        changed = error.code == "ABORTED" or (isinstance(error, InvalidArgument) and self.request.offset > 0)
        if not changed or self._restarts_left == 0:
            return False
        self._restarts_left -= 1
        self._file.restart()
        self._sha256 = hashlib.sha256()
        self.request.offset = 0
        self.request.sha256 = ""
        return True

    def commit(self) -> Path:
        """The file at its place. DATA_LOSS: it is not what the server said it would be."""
        found = self._sha256.hexdigest()
        if found != self.request.sha256:
            raise make_error("DATA_LOSS", f"{self._to} arrived with SHA-256 {found}, not {self.request.sha256}")
        return self._file.commit()

    def discard(self) -> None:
        """After `commit`, nothing."""
        self._file.discard()


def place_of(name: str, to: str | os.PathLike[str]) -> Path:
    """Where a file of a job goes: `to` itself, or into it where it is a folder."""
    path = Path(to)
    if not path.is_dir():
        return path
    last = Path(name).name
    if last in ("", ".", ".."):
        raise ValueError(f"'{name}' names no file")
    return path / last
