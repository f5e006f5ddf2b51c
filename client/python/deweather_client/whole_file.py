"""Files that are there whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from pathlib import Path

_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)


class WholeFile:
    """A file that is being written, under another name beside its place. A symbolic link's place is where it leads.

    Owns     that other file, until `commit` or `discard`
    Threads  one thread or task
    Errors   OSError; FileExistsError where there is one that may not be replaced
    """

    def __init__(self, to: Path, overwrite: bool) -> None:
        self._to = to
        self._overwrite = overwrite
        self._place = Path(os.path.realpath(to)) if overwrite else to
        mode = self._mode_of_replaced()
        self._part = self._place.with_name(f".deweather-{uuid.uuid4().hex}.part")
        try:
            self._file = open(self._part, "xb")
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(self._part.parent)) from None
        if mode is not None:
            with contextlib.suppress(OSError):  # a file system that has none
                os.chmod(self._part, mode)

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
        self._file.close()
        self._mode_of_replaced()  # another may have come meanwhile
        if self._overwrite:
            os.replace(self._part, self._place)
        else:
            _put(self._part, self._place)
        return self._to

    def discard(self) -> None:
        """After `commit`, nothing."""
        with contextlib.suppress(OSError):  # a full disk: the rest cannot be written, nor is it wanted
            self._file.close()
        self._part.unlink(missing_ok=True)

    def _mode_of_replaced(self) -> int | None:
        """Permissions of the file that is replaced; None: there is none. FileExistsError: it may not be."""
        if not os.path.lexists(self._place):
            return None
        if self._place.exists() and not self._place.is_file():
            raise FileExistsError(f"{self._to} is no file that could be replaced")
        if not self._overwrite:
            raise FileExistsError(f"{self._to} is there; overwrite=True replaces it")
        return stat.S_IMODE(os.stat(self._place).st_mode)


def _put(part: Path, place: Path) -> None:
    """FileExistsError: something is there, and stays as it is."""
    try:
        os.link(part, place)  # never replaces; `part` goes with `discard`
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    with open(place, "xb"):  # the file system has no links: an empty file takes the name
        pass
    try:
        os.replace(part, place)
    except OSError:
        place.unlink()
        raise
