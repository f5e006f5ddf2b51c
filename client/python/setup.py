"""Builds the package: the messages are generated from the .proto files, and are in no repository.

Those files lie beside this one (scripts/wheel copies them) or in the repository's proto/.
"""

import os
import pathlib
import re
import shutil
import sys
import tempfile

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE if (HERE / "proto").is_dir() else HERE.parents[1]
MESSAGES = ("model", "restoration", "train_config", "training")


def version() -> str:
    found = re.search(r"^project\(deweather VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)
    assert found, "no version in CMakeLists.txt"
    return found[1]


def generate(sources: list[str], includes: list[pathlib.Path], out: str) -> None:
    import grpc_tools
    from grpc_tools import protoc

    places = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ.get("PATH", "")])
    plugin = shutil.which("protoc-gen-mypy", path=places)
    google = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    command = ["protoc", *(f"-I{folder}" for folder in (*includes, google)), f"--python_out={out}",
               f"--plugin=protoc-gen-mypy={plugin}", f"--mypy_out=quiet:{out}", *sources]
    if protoc.main(command) != 0:
        raise RuntimeError(f"failed: {' '.join(command)}")


class Build(build_py):
    """The messages of deweather.v1 become deweather_client.v1, so that no other package is in their way."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            raise RuntimeError("not editable: the messages are generated into the wheel; use scripts/wheel")
        package = pathlib.Path(self.build_lib) / "deweather_client"
        with tempfile.TemporaryDirectory() as out:
            generate([f"deweather/v1/{name}.proto" for name in MESSAGES], [ROOT / "proto"], out)
            generate(["deweather_client/wire.proto"], [HERE], out)
            self.place(pathlib.Path(out), package)

    def place(self, out: pathlib.Path, package: pathlib.Path) -> None:
        (package / "v1").mkdir(exist_ok=True)
        (package / "v1/__init__.py").write_text('"""The messages of the API: package deweather.v1."""\n')
        for source, target in (("deweather/v1", "v1"), ("deweather_client", ".")):
            for file in sorted((out / source).iterdir()):
                text = re.sub(r"\bdeweather\.v1\.(\w+_pb2)\b", r"deweather_client.v1.\1", file.read_text())
                text = text.replace("from deweather.v1 import ", "from deweather_client.v1 import ")
                text = re.sub(r"^import deweather\.v1\b", "import deweather_client.v1", text, flags=re.MULTILINE)
                (package / target / file.name).write_text(text)


setup(version=version(), cmdclass={"build_py": Build})
