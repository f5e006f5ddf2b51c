"""What comes back."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from deweather_client import pictures, preview, tiff
from deweather_client.errors import DeweatherError, make_error
from deweather_client.options import SUFFIXES, format_name
from deweather_client.pictures import Source
from deweather_client.whole_file import WholeFile

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from numpy.typing import NDArray
    from PIL.Image import Image

    from deweather_client.v1.restoration_pb2 import RestoreResponse, Routing

T = TypeVar("T")


class ModelVersion(NamedTuple):
    """One immutable version of a model."""

    name: str
    version: str  # 12 hexadecimal digits, or "builtin"


class Timings(NamedTuple):
    """Where the time went on the server, in seconds. Tiles overlap: the parts need not add up to the total."""

    decode: float
    queue: float
    infer: float
    blend: float
    encode: float
    total: float
    tiles: int
    batches: int


@dataclass(frozen=True, eq=False, repr=False)
class Restored(Generic[T]):
    """A restored picture. In a notebook it shows itself beside what it was made of.

    image            the file
    format           "png"
    width, height    in pixels, after the EXIF orientation was applied
    model            what restored it
    routing          how much every expert worked (a deweather.v1.Routing); None: no experts
    timings          where the time went
    expert_map       a PNG, 8-bit grey, one pixel a token; None unless asked for
    uncertainty_map  a PNG, 16-bit grey, one pixel a token, 65535 is 1; None unless asked for
    request_id       what the server's log calls it

    Holds what was given too, and the file that was sent for it: where many are kept, keep `image` or `picture`.

    Threads  thread-safe
    """

    image: bytes
    format: str
    width: int
    height: int
    model: ModelVersion
    routing: Routing | None
    timings: Timings
    expert_map: bytes | None
    uncertainty_map: bytes | None
    request_id: str
    source: Source[T] = field(repr=False)

    @cached_property
    def picture(self) -> T:
        """As it was given: bytes for a file or bytes, an array of the same shape and dtype, a Pillow image. ValueError
        where a file of the `format` that was asked for cannot hold such an array."""
        return self.source.like_given(self.image, self.format)

    @cached_property
    def array(self) -> NDArray[Any]:
        """[H,W] of grey, [H,W,3] of RGB, [H,W,4] of RGBA; uint8 or uint16. Files other than TIFF need Pillow."""
        return pictures.to_array(self.image)

    @cached_property
    def pil(self) -> Image:
        """Needs Pillow."""
        return pictures.to_image(self.image)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Writes the file, whole or not at all. FileExistsError unless `overwrite`; ValueError for the suffix of
        another format: the file is as `format` says."""
        named = SUFFIXES.get(Path(path).suffix.lower(), self.format)
        if named != self.format:
            raise ValueError(f"'{os.fspath(path)}' is the name of a {named} file, and this is {self.format}; "
                             f"restore(..., format='{named}') makes one")
        file = WholeFile(Path(path), overwrite)
        try:
            file.write(self.image)
            return file.commit()
        finally:
            file.discard()

    def __repr__(self) -> str:
        return (f"<Restored {self.width}x{self.height} {self.format}, {len(self.image)} bytes, model {self.model.name} "
                f"{self.model.version}, {self.timings.total:.3f} s>")

    def _repr_html_(self) -> str | None:
        return preview.as_html(*self._before_and_after(), repr(self).strip("<>"))

    def _repr_png_(self) -> bytes | None:
        return preview.as_png(*self._before_and_after())

    def _before_and_after(self) -> tuple[object, object]:
        """Of the files: what was given may have been changed or closed since."""
        if not pictures.is_array(self.source.given):
            return self.source.file, self.image
        after = pictures.to_array(self.image) if self.format == "tiff" else self.image
        return tiff.read(self.source.file), after


def make_restored(response: RestoreResponse, source: Source[T], request_id: str) -> Restored[T]:
    """Of the server's reply."""
    timings = response.timings
    return Restored(
        image=response.image, format=format_name(response.format), width=response.width_px, height=response.height_px,
        model=ModelVersion(response.model.name, response.model.version),
        routing=response.routing if response.HasField("routing") else None,
        timings=Timings(_seconds(timings.decode), _seconds(timings.queue), _seconds(timings.infer),
                        _seconds(timings.blend), _seconds(timings.encode), _seconds(timings.total),
                        timings.tiles, timings.batches),
        expert_map=response.expert_map or None, uncertainty_map=response.uncertainty_map or None,
        request_id=request_id, source=source)


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos * 1e-9


@dataclass(frozen=True, eq=False)
class Frame(Generic[T]):
    """What became of one frame of a stream: exactly one of the three."""

    number: int  # from 0
    restored: Restored[T] | None = None
    error: DeweatherError | None = None
    dropped: bool = False  # for a newer one

    def get(self) -> Restored[T]:
        """Raises what the frame failed with; ABORTED if it was dropped."""
        if self.restored is not None:
            return self.restored
        raise self.error or make_error("ABORTED", f"frame {self.number} was dropped for a newer one")
