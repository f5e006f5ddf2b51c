"""What streams are made of: pictures, models and data sets in pieces, as messages."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deweather_client.errors import make_error
from deweather_client.options import SUFFIXES
from deweather_client.v1 import model_pb2, restoration_pb2, training_pb2

CHUNK_BYTES = 256 << 10
# A picture whose file is larger goes in chunks.
MAX_MESSAGE_BYTES = 32 << 20

Large = restoration_pb2.RestoreLargeRequest
Upload = training_pb2.UploadDatasetRequest
Import = model_pb2.ImportModelRequest
Dataset = training_pb2.Dataset

KINDS = {"pairs": Dataset.KIND_PAIRS, "clean": Dataset.KIND_CLEAN}
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def large_requests(file: bytes, options: restoration_pb2.RestoreOptions) -> Iterator[Large]:
    yield Large(start=Large.Start(options=options, image_bytes=len(file)))
    for at in range(0, len(file), CHUNK_BYTES):
        yield Large(chunk=restoration_pb2.Chunk(offset=at, data=file[at:at + CHUNK_BYTES]))


class LargeReply:
    """Collects what RestoreLarge answers.

    Threads  one thread or task
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._summary = restoration_pb2.RestoreLargeResponse.Summary()

    def take(self, part: restoration_pb2.RestoreLargeResponse) -> tuple[int, int] | None:
        """Tiles that are restored, and all of them, if that is what the part tells."""
        if part.HasField("progress"):
            return part.progress.tiles_done, part.progress.tiles
        if part.HasField("chunk"):
            self._pieces.append(part.chunk.data)
        if part.HasField("summary"):
            self._summary = part.summary
        return None

    def finish(self) -> restoration_pb2.RestoreResponse:
        """REQUIRES: the call has ended well."""
        image = b"".join(self._pieces)
        if len(image) != self._summary.image_bytes or not image:
            raise make_error("DATA_LOSS", f"the server sent {len(image)} bytes of a picture of "
                             f"{self._summary.image_bytes}")
        response = self._summary.response
        response.image = image
        return response


def import_requests(path: str | os.PathLike[str], name: str, origin: str | None) -> Iterator[Import]:
    with open(path, "rb") as file:
        sha256, size = _digest(path)
        start = Import.Start(name=name, bytes=size, sha256=sha256, origin=Path(path).name if origin is None else origin)
        yield Import(start=start)
        while piece := file.read(CHUNK_BYTES):
            yield Import(chunk=piece)


@dataclass(frozen=True)
class DatasetPlan:
    """What a folder holds, before anything is sent."""

    kind: Dataset.Kind.ValueType
    files: tuple[tuple[str, Path], ...]  # path in the data set, and here


def plan_dataset(folder: str | os.PathLike[str], kind: str | None) -> DatasetPlan:
    """Pictures, or input/ and gt/ with pictures; what is hidden is left out. ValueError names what does not fit."""
    root = Path(folder)
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind is '{kind}'; it must be one of {', '.join(KINDS)}")
    sides = [side for side in ("input", "gt") if (root / side).is_dir()]
    if len(sides) == 1:
        raise ValueError(f"{root} holds {sides[0]}/ alone; pairs need input/ and gt/")
    if sides and kind == "clean":
        raise ValueError(f"{root} holds input/, as pairs do; clean pictures lie in one folder")
    if not sides and kind != "pairs":
        return DatasetPlan(Dataset.KIND_CLEAN, tuple((path.name, path) for path in _pictures(root)))
    if not sides:
        raise ValueError(f"{root} holds no input/ and gt/, as pairs do")
    beside = [path for path in _visible(root) if path.name not in sides]
    if beside:
        raise ValueError(f"{beside[0]}: pairs lie in input/ and gt/, and nothing beside")
    files = [(f"{side}/{path.name}", path) for side in ("gt", "input") for path in _pictures(root / side)]
    return DatasetPlan(Dataset.KIND_PAIRS, tuple(files))


def upload_requests(name: str, plan: DatasetPlan) -> Iterator[Upload]:
    yield Upload(start=Upload.Start(name=name, kind=plan.kind))
    for path, source in plan.files:
        data = source.read_bytes()
        yield Upload(file=Upload.File(path=path, bytes=len(data), sha256=hashlib.sha256(data).hexdigest()))
        for at in range(0, len(data), CHUNK_BYTES):
            yield Upload(chunk=data[at:at + CHUNK_BYTES])


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _pictures(folder: Path) -> list[Path]:
    found = _visible(folder)
    if not found:
        raise ValueError(f"{folder} is empty")
    for path in found:
        if not path.is_file() or path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{path} is no picture: {', '.join(SUFFIXES)}")
        if not _NAME.fullmatch(path.name):
            raise ValueError(f"{path}: a name has at most 64 letters, digits, '.', '_' and '-'")
    return found


def _digest(path: str | os.PathLike[str]) -> tuple[str, int]:
    """SHA-256 and size of a file."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            size += len(piece)
    return digest.hexdigest(), size
