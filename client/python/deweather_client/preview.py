"""Before and after, small, for notebooks: no scripts, nothing fetched from elsewhere."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Any, NamedTuple

from deweather_client import pictures, png

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

SIDE = 480  # of a preview, in pixels, at most
_MAX_EMBEDDED = 4 << 20
_GAP = 8


class Small(NamedTuple):
    """Raw RGB, 3 bytes a pixel."""

    width: int
    height: int
    rgb: bytes


def as_html(before: object, after: object, caption: str) -> str | None:
    """None if one of them cannot be shown here. Each is a file's bytes or an array."""
    figures = [(_data_uri(picture), word) for picture, word in ((before, "before"), (after, "after"))]
    if not all(uri for uri, _ in figures):
        return None
    cells = "".join(
        f'<figure style="margin:0;flex:1 1 0;min-width:0;max-width:{SIDE}px">'
        f'<img src="{uri}" alt="{word}" style="width:100%;height:auto"><figcaption>{word}</figcaption></figure>'
        for uri, word in figures)
    return (f'<div style="display:flex;gap:{_GAP}px;align-items:flex-start">{cells}</div>'
            f"<div>{html.escape(caption)}</div>")


def as_png(before: object, after: object) -> bytes | None:
    """Both beside each other, or None."""
    left, right = _small(before), _small(after)
    if left is None or right is None:
        return None
    height = max(left.height, right.height)
    gap = b"\xff" * (3 * _GAP)
    rows = b"".join(_row(left, y) + gap + _row(right, y) for y in range(height))
    return png.write_rgb(left.width + _GAP + right.width, height, rows)


def _row(small: Small, y: int) -> bytes:
    stride = 3 * small.width
    return small.rgb[y * stride:(y + 1) * stride].ljust(stride, b"\xff")


def _data_uri(picture: object) -> str | None:
    small = _small(picture)
    if small is not None:
        return _uri("png", png.write_rgb(*small))
    if isinstance(picture, bytes) and len(picture) <= _MAX_EMBEDDED:
        kind = _browser_kind(picture)
        return _uri(kind, picture) if kind else None
    return None


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _browser_kind(file: bytes) -> str | None:
    """What a browser shows as it is."""
    magics = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"), (b"RIFF", "webp"), (b"BM", "bmp"))
    return next((kind for magic, kind in magics if file.startswith(magic)), None)


def _small(picture: object) -> Small | None:
    try:
        from PIL import Image  # noqa: F401
    except ImportError:
        return _small_array(picture) if pictures.is_array(picture) else None  # type: ignore[arg-type]
    try:
        return _small_image(_image_of(picture))
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _image_of(picture: object) -> Image:
    from PIL import Image, ImageOps

    if isinstance(picture, bytes):
        image = Image.open(io.BytesIO(picture))
        return ImageOps.exif_transpose(image) or image
    pixels = _eight_bits(picture)  # type: ignore[arg-type]
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels)


def _small_image(image: Image) -> Small:
    if image.mode.startswith("I"):
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    small = small.convert("RGB")
    return Small(small.width, small.height, small.tobytes())


def _small_array(pixels: NDArray[Any]) -> Small:
    """Every n-th pixel; alpha is left out."""
    import numpy as np

    step = -(-max(pixels.shape[:2]) // SIDE)
    few = _eight_bits(pixels)[::step, ::step]
    few = few.reshape(*few.shape[:2], -1)
    colours = few[:, :, :3] if few.shape[2] >= 3 else np.repeat(few[:, :, :1], 3, axis=2)
    return Small(few.shape[1], few.shape[0], np.ascontiguousarray(colours).tobytes())


def _eight_bits(pixels: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    return (pixels >> 8).astype(np.uint8) if pixels.dtype.itemsize == 2 else pixels
