"""What the tests of the examples share: the harness of tests/e2e, and programs of `scripts/setup --with-examples`."""

import pathlib
import shutil
import subprocess
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from harness import BIN, ROOT, Server, TestCase, decode, encode, main, noise, np, skip, smooth  # noqa: E402, F401

EXAMPLES = ROOT / "examples"


def tool(name):
    """Path of a program: on PATH, or in the virtual environment of the examples; None if it is nowhere."""
    python = subprocess.run([ROOT / "scripts/setup", "--print-examples"], capture_output=True, text=True,
                            check=False).stdout.strip()
    if found := shutil.which(name) or shutil.which(name, path=str(pathlib.Path(python).parent)):
        return found
    if name == "ffmpeg" and pathlib.Path(python).exists():
        done = subprocess.run([python, "-c", "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"],
                              capture_output=True, text=True, check=False)
        return done.stdout.strip() or None
    return None


def missing(name):
    return f"no {name} here: run scripts/setup --with-examples"


def run(*command, status=0, **options):
    """Output of a command that must end with this status; the text if it is one."""
    options = {"text": True, "timeout": 300, **options}
    done = subprocess.run([*map(str, command)], capture_output=True, check=False, **options)
    if done.returncode != status:
        raise AssertionError(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def blocks(document, language=""):
    """The fenced blocks of a document in that language, as printed."""
    found, block = [], None
    for line in (ROOT / document).read_text().splitlines():
        if block is None and line.startswith("```"):
            block = [line[3:].strip()]
        elif block is not None and line == "```":
            found.append(block)
            block = None
        elif block is not None:
            block.append(line)
    return ["\n".join(block[1:]) + "\n" for block in found if block[0] == language]
