"""Runs a test of the Python client: run.py FILE [PYTEST_OPTION...]. Builds the wheel first if its sources are newer.

Environment: DEWEATHER_BIN, the folder of the programs; DEWEATHER_WHEEL_DIR, where the wheel is built (default:
build/wheel).
"""

import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SKIPPED = 77
SOURCES = ("client/python", "proto/deweather", "scripts/wheel", "scripts/requirements-python.txt", "CMakeLists.txt")


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def client_python():
    done = subprocess.run([ROOT / "scripts/setup", "--print-client"], capture_output=True, text=True, check=False)
    python = done.stdout.strip()
    if not os.access(python, os.X_OK):
        skip(f"no '{python}': run scripts/setup --with-python")
    return python


def newest_source():
    places = [ROOT / name for name in SOURCES]
    files = [file for place in places for file in (place, *place.rglob("*")) if file.is_file()]
    return max(file.stat().st_mtime for file in files if "__pycache__" not in file.parts)


def unpacked_wheel(folder):
    """Where the package lies; its wheel is in the folder above. Tests that run at once build it once."""
    folder.mkdir(parents=True, exist_ok=True)
    site, stamp = folder / "site", folder / "stamp"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        newest = str(newest_source())
        if stamp.exists() and stamp.read_text() == newest:
            return site
        shutil.rmtree(site, ignore_errors=True)
        for old in folder.glob("*.whl"):
            old.unlink()
        built = subprocess.check_output([ROOT / "scripts/wheel", "--no-setup", folder], text=True).strip()
        with zipfile.ZipFile(built) as wheel:
            wheel.extractall(site)
        stamp.write_text(newest)
    return site


def main():
    if not (pathlib.Path(os.environ.get("DEWEATHER_BIN") or ROOT / "build/release/bin") / "deweather-server").exists():
        skip("deweather-server is not built")
    python = client_python()
    folder = pathlib.Path(os.environ.get("DEWEATHER_WHEEL_DIR") or ROOT / "build/wheel")
    site = unpacked_wheel(folder)
    os.environ["DEWEATHER_WHEEL_DIR"] = str(folder)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(site), str(ROOT / "tests/e2e")])
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    os.execv(python, [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-rs",
                      str(HERE / sys.argv[1]), *sys.argv[2:]])


main()
