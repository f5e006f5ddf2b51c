"""Goes on in the Python that has Triton's client: import this before all else (scripts/setup --with-kserve)."""

import os
import pathlib
import subprocess
import sys

try:
    import tritonclient.grpc as triton  # noqa: F401
except ImportError:
    root = pathlib.Path(__file__).resolve().parents[2]
    python = subprocess.run([root / "scripts/setup", "--print-kserve"], capture_output=True, text=True,
                            check=False).stdout.strip()
    if os.environ.get("DEWEATHER_IN_KSERVE") or not os.access(python, os.X_OK):
        print(f"skipped: no tritonclient in '{python}': run scripts/setup --with-kserve")
        sys.exit(77)
    os.environ["DEWEATHER_IN_KSERVE"] = "1"
    os.execv(python, [python, "-B", *sys.argv])
