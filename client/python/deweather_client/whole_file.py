"""Files that are there whole, or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


class WholeFile:
    """A file that is being written, under another name beside its place.

    Owns     that other file, until `commit` or `discard`
    Threads  one thread or task
    Errors   OSError; FileExistsError where there is one that may not be replaced
    """

    def __init__(self, to: Path, overwrite: bool) -> None:
        self._to = to
        self._overwrite = overwrite
        self._check()
        self._part = to.with_name(f".{to.name}.{uuid.uuid4().hex}.part")
        self._file = open(self._part, "xb")

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def restart(self) -> None:
        """What was written is forgotten."""
        self._file.seek(0)
        self._file.truncate()

    def commit(self) -> Path:
        """The file at its place."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._check()  # one may have come meanwhile
        os.replace(self._part, self._to)
        return self._to

    def discard(self) -> None:
        """After `commit`, nothing."""
        self._file.close()
        self._part.unlink(missing_ok=True)

    def _check(self) -> None:
        if self._to.exists() and not self._to.is_file():
            raise FileExistsError(f"{self._to} is no file that could be replaced")
        if self._to.exists() and not self._overwrite:
            raise FileExistsError(f"{self._to} is there; overwrite=True replaces it")
