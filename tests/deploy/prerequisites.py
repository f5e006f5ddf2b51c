"""What tests of the deployment need beside Python, and how they are skipped without it."""

import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SKIPPED = 77


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def need(*names):
    """Paths of programs, on PATH or in the virtual environment of scripts/setup; skips if one is missing."""
    venv = subprocess.run([ROOT / "scripts/setup", "--print-python"], capture_output=True, text=True,
                          check=False).stdout.strip()
    path = os.pathsep.join([os.environ.get("PATH", ""), str(pathlib.Path(venv or "/nonexistent").parent)])
    found = [shutil.which(name, path=path) for name in names]
    missing = [name for name, place in zip(names, found) if place is None]
    if missing:
        skip(f"no {', '.join(missing)} here: run scripts/setup --with-deploy")
    return found[0] if len(found) == 1 else found
