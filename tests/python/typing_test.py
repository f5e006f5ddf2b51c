"""mypy --strict over the package, and over how it is used."""

import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
SITE = pathlib.Path(os.environ["DEWEATHER_WHEEL_DIR"]) / "site"


def mypy(cache, *args):
    """Its last lines, and whether it found nothing."""
    command = [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.10", "--no-error-summary",
               f"--cache-dir={cache}", *map(str, args)]
    done = subprocess.run(command, cwd=SITE, env={**os.environ, "MYPYPATH": str(SITE)},
                          capture_output=True, text=True, check=False, timeout=200)
    return done.returncode, done.stdout + done.stderr


def test_the_package_is_strict(tmp_path):
    assert mypy(tmp_path, "-p", "deweather_client") == (0, "")


def test_its_use_is_strict(tmp_path):
    """Also where bytes are not bytearrays, as with newer versions of mypy."""
    strict_bytes = ("--disable-bytearray-promotion", "--disable-memoryview-promotion")
    assert mypy(tmp_path, *strict_bytes, HERE / "usage.py") == (0, "")


@pytest.mark.parametrize("wrong, says", [
    ("client.restore(7)", "call-overload"), ('client.restore(b"", qualty=3)', "call-overload"),
    ('client.restore(b"").array.dance()', "attr-defined"), ("Client(server=1)", "arg-type")])
def test_wrong_use_is_found(tmp_path, wrong, says):
    (tmp_path / "wrong.py").write_text(f"from deweather_client import Client\nclient = Client()\n{wrong}\n")
    code, text = mypy(tmp_path / "cache", tmp_path / "wrong.py")
    assert code == 1 and f"[{says}]" in text, text
