"""Files that the client writes: whole or not at all, and never over another one unasked."""

import errno
import os
import resource
import threading
from pathlib import Path

import pytest

from deweather_client.whole_file import WholeFile


def save(to, data=b"new", overwrite=False):
    file = WholeFile(Path(to), overwrite)
    try:
        file.write(data)
        return file.commit()
    finally:
        file.discard()


@pytest.fixture(params=["links", "no links"])
def links(request, monkeypatch):
    """With a file system that has hard links, and with one that has none."""
    if request.param == "no links":
        def refuse(*_):
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_nothing_is_left_of_a_file_that_the_disk_does_not_hold(tmp_path):
    """Less than Python's buffer: what is over the limit is seen when it is flushed."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            save(tmp_path / "out", bytes(3000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == []


def test_one_that_came_meanwhile_is_not_replaced(tmp_path, links, monkeypatch):
    """Between the last look and the end."""
    file = WholeFile(tmp_path / "out", False)
    file.write(b"late")
    monkeypatch.setattr(file, "_mode_of_replaced", lambda: (tmp_path / "out").write_bytes(b"first"))
    with pytest.raises(FileExistsError):
        file.commit()
    file.discard()
    assert (tmp_path / "out").read_bytes() == b"first" and names(tmp_path) == ["out"]


def test_one_of_many_wins(tmp_path, links):
    won = []

    def run(i):
        try:
            save(tmp_path / "out", b"%d" % i)
            won.append(b"%d" % i)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(tmp_path / "out").read_bytes()] == won and names(tmp_path) == ["out"]


def test_a_link_stays_and_the_file_it_names_is_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("folder/file")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save(tmp_path / "link")
    assert save(tmp_path / "link", overwrite=True) == tmp_path / "link"
    assert (tmp_path / "link").is_symlink() and (tmp_path / "folder/file").read_bytes() == b"new"
    (tmp_path / "dangling").symlink_to("folder/other")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save(tmp_path / "dangling")
    save(tmp_path / "dangling", overwrite=True)
    assert names(tmp_path / "folder") == ["file", "other"]


def test_permissions_of_a_replaced_file_stay(tmp_path):
    (tmp_path / "out").write_bytes(b"secret")
    (tmp_path / "out").chmod(0o600)
    save(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600 and (tmp_path / "out").read_bytes() == b"new"


def test_no_regular_file_is_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="pipe is no file"):
            save(tmp_path / "pipe", overwrite=overwrite)


def test_errors_name_what_the_caller_knows(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        save(tmp_path / "none/out")
    assert caught.value.filename == str(tmp_path / "none")
    save(tmp_path / ("n" * 250))
