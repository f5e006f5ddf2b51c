"""examples/python runs as somebody would run it."""

import subprocess
import sys

from harness import ROOT, decode, encode, smooth

EXAMPLE = ROOT / "examples/python/restore.py"


def run(*arguments):
    return subprocess.run([sys.executable, EXAMPLE, *map(str, arguments)], capture_output=True, text=True, check=False,
                          timeout=60)


def test_a_picture(server, tmp_path):
    (tmp_path / "rainy.jpg").write_bytes(encode(smooth(120, 80), "JPEG", quality=90))
    done = run(server.address, tmp_path / "rainy.jpg", tmp_path / "out.jpg")
    assert (done.returncode, done.stderr) == (0, "")
    assert decode((tmp_path / "out.jpg").read_bytes()).shape == (80, 120, 3)
    assert "identity" in done.stdout


def test_no_picture(server, tmp_path):
    (tmp_path / "rainy.jpg").write_bytes(b"no picture")
    done = run(server.address, tmp_path / "rainy.jpg", tmp_path / "out.jpg")
    assert done.returncode == 1
    assert "INVALID_IMAGE" in done.stderr
    assert not (tmp_path / "out.jpg").exists()
