"""Pictures of the kinds that callers have them in: files and their bytes, NumPy arrays, Pillow images."""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Union

from deweather_client import tiff

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    Picture = TypeVar("Picture", NDArray[Any], Image)
    FilePicture = Union[bytes, bytearray, memoryview, str, os.PathLike[str]]
    AnyPicture = Union[FilePicture, NDArray[Any], Image]

T = TypeVar("T")

# Of Pillow: what PNG holds as it is. Others are converted first.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_CONVERTED = {"La": "LA", "PA": "RGBA", "RGBa": "RGBA", "RGBX": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB",
              "HSV": "RGB", "I;16L": "I;16", "I;16B": "I;16", "I;16N": "I;16"}

_ORIENTATION = 0x0112  # of EXIF


@dataclass(frozen=True)
class Source(Generic[T]):
    """A picture as it was given, and the file that is sent for it."""

    given: object
    file: bytes

    def like_given(self, restored: bytes, format: str) -> T:
        """The restored file as what was given. ValueError: an array that a file of this format cannot hold."""
        if is_array(self.given):
            return _as_given(to_array(restored), self.given, format)  # type: ignore[return-value, arg-type]
        if is_image(self.given):
            return to_image(restored)  # type: ignore[return-value]
        return restored  # type: ignore[return-value]


def read(picture: AnyPicture) -> Source[Any]:
    """May read a file or take a while to encode: not for an event loop, but for bytes.

    TypeError, ValueError: no picture of these kinds. OSError: a file that cannot be read.
    """
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return Source(picture, bytes(picture))
    if is_array(picture):
        return Source(picture, tiff.write(_checked(picture)))  # type: ignore[arg-type]
    if is_image(picture):
        return Source(picture, _png_of(picture))  # type: ignore[arg-type]
    if isinstance(picture, (str, os.PathLike)):
        with open(picture, "rb") as file:
            return Source(picture, file.read())
    raise TypeError(f"a picture is bytes, a path, a NumPy array or a Pillow image, not {type(picture).__name__}")


def is_array(picture: object) -> bool:
    """Whether it is of NumPy, which need not be there."""
    return any(kind.__module__ == "numpy" and kind.__name__ == "ndarray" for kind in type(picture).__mro__)


def is_image(picture: object) -> bool:
    """Whether it is of Pillow, which need not be there."""
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(picture).__mro__)


def to_array(file: bytes) -> NDArray[Any]:
    """[H,W] of grey, [H,W,3] of RGB, [H,W,4] of RGBA; uint8 or uint16. Files other than TIFF need Pillow."""
    import numpy as np

    try:
        if file[:4] == b"II*\0":
            return tiff.read(file)
    except ValueError:
        pass  # not one of our server's
    if file[:4] == b"\x89PNG" and file[24] == 16 and file[25] != 0:
        raise ValueError("Pillow reads PNG with 16 bits of colour as 8; ask for format='tiff'")
    image = to_image(file)
    if image.mode in ("1", "P"):
        image = image.convert("RGBA" if "transparency" in image.info else "L" if image.mode == "1" else "RGB")
    return np.array(image)


def to_image(file: bytes) -> Image:
    """Needs Pillow, and has what Pillow holds: 8 bits, or 16 of grey."""
    from PIL import Image

    image = Image.open(io.BytesIO(file))
    image.load()
    return image


def _as_given(pixels: NDArray[Any], given: NDArray[Any], format: str) -> NDArray[Any]:
    if given.shape == (*pixels.shape, 1):
        pixels = pixels[:, :, None]
    if pixels.shape[2:] != given.shape[2:] or pixels.dtype.itemsize != given.dtype.itemsize:
        raise ValueError(f"the {format} file holds {pixels.dtype} of shape {pixels.shape}, not {given.dtype} of shape "
                         f"{given.shape} as given: `array` has it as it is, and a TIFF would hold what was given")
    return pixels


def _checked(pixels: NDArray[Any]) -> NDArray[Any]:
    if hasattr(pixels, "mask"):
        raise ValueError("a masked array: what is masked has no colour until `filled` gives it one")
    if pixels.dtype.kind != "u" or pixels.dtype.itemsize > 2:
        raise ValueError(f"an array of {pixels.dtype}; it must be uint8 or uint16")
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.ndim not in (2, 3) or not 1 <= channels <= 4 or 0 in pixels.shape:
        raise ValueError(f"an array of shape {pixels.shape}; it must be (H, W) or (H, W, C) with C from 1 to 4, and "
                         "not empty")
    return pixels


def _png_of(image: Image) -> bytes:
    mode = _CONVERTED.get(image.mode, image.mode)
    if mode not in _PNG_MODES:
        raise ValueError(f"a Pillow image of mode {image.mode}; it must be one of {', '.join(_PNG_MODES)}")
    if 0 in image.size:
        raise ValueError(f"a Pillow image of {image.width}x{image.height} pixels; it must not be empty")
    out = io.BytesIO()
    converted = _upright(image if mode == image.mode else image.convert(mode))
    # Without EXIF: the pixels are upright now.
    converted.save(out, "PNG", compress_level=1, icc_profile=image.info.get("icc_profile"), exif=b"")
    return out.getvalue()


def _upright(image: Image) -> Image:
    """Turned as its EXIF says, as the server turns files."""
    from PIL import ImageOps

    try:
        turned = ImageOps.exif_transpose(image) if image.getexif().get(_ORIENTATION, 1) != 1 else None
        return turned or image
    except (OSError, SyntaxError, ValueError, struct.error):
        return image  # EXIF that nobody can read
