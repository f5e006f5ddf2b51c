"""Clang's thread-safety analysis of the units that use model/base/mutex.h; needs a built tree.

Says so and succeeds where no clang++ is installed: GCC, which builds the release, ignores the
annotations.
"""

import json
import pathlib
import shlex
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/architecture"))

import includes  # noqa: E402


def find_clang():
    candidates = ["clang++-19", "clang++-18", "clang++-17", "clang++-16", "clang++"]
    return next((c for c in candidates if shutil.which(c)), None)


def uses_mutex(tree, path):
    """Units that see Torch's headers take long: they are left to the preset `dev`."""
    return tree.sees_file(path, "model/base/mutex.h") and "torch" not in tree.seen(path)


def command(clang, entry):
    arguments = shlex.split(entry["command"])
    start = next(i for i, a in enumerate(arguments) if a.startswith("-"))
    kept = [a for a in arguments[start:] if not a.startswith(("-fmodule", "-W"))]
    output = kept.index("-o")
    del kept[output : output + 2]
    return [clang, "-fsyntax-only", "-w", "-Wthread-safety", "-Werror=thread-safety"] + kept


def main():
    clang = find_clang()
    if clang is None:
        print("no clang++: lock annotations are not checked")
        return 0
    build = pathlib.Path(sys.argv[1])
    entries = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    tree = includes.Tree(ROOT)
    status = 0
    for entry in entries:
        path = pathlib.Path(entry["file"])
        if not path.is_relative_to(ROOT):
            continue
        relative = path.relative_to(ROOT).as_posix()
        if relative in tree.direct and uses_mutex(tree, relative):
            status |= subprocess.run(command(clang, entry), cwd=entry["directory"]).returncode
    return 1 if status else 0


if __name__ == "__main__":
    sys.exit(main())
