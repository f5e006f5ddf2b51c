"""The code of docs/python.md runs as it stands there."""

import os
import re
import subprocess
import sys

import pytest
from harness import ROOT, encode, smooth

CODE = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/python.md").read_text(), re.MULTILINE | re.DOTALL)


def test_there_is_code():
    assert len(CODE) == 2


@pytest.mark.parametrize("code", CODE, ids=["quick start", "asyncio"])
def test_it_runs(code, server, tmp_path):
    (tmp_path / "rainy.jpg").write_bytes(encode(smooth(120, 80), "JPEG", quality=90))
    (tmp_path / "code.py").write_text(code)
    env = {**os.environ, "DEWEATHER_SERVER": server.address}
    done = subprocess.run([sys.executable, "code.py"], cwd=tmp_path, env=env, capture_output=True, text=True,
                          check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    if "save" in code:
        assert (tmp_path / "restored.jpg").read_bytes().startswith(b"\xff\xd8")
        assert done.stdout.splitlines()[0] == "SERVING"
        assert done.stdout.splitlines()[-1] == "INVALID_ARGUMENT INVALID_IMAGE"
