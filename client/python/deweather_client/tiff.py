"""TIFF files of arrays: what is sent is not compressed, what comes back is read if our server wrote it.

Shapes   pixels [H,W] or [H,W,C], C 1 to 4: grey, grey and alpha, RGB, RGBA; uint8 or uint16
Errors   ValueError: a file of another kind, which Pillow may read
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_OFFSETS, _SAMPLES, _ROWS, _SIZES, _PLANAR, _PREDICTOR, _EXTRA = 273, 277, 278, 279, 284, 317, 338
_NONE, _DEFLATE = 1, 8
_HORIZONTAL = 2
_UNASSOCIATED = 2
_BYTES = {1: 1, 3: 2, 4: 4}  # of a value of each type
_CODES = {1: "B", 3: "H", 4: "I"}
MAX_BYTES = 2**32 - 4096


def write(pixels: NDArray[Any]) -> bytes:
    """A file of one strip, little-endian. REQUIRES: a shape and dtype as above."""
    import numpy as np

    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    bits = 8 * pixels.dtype.itemsize
    data = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).tobytes()
    if len(data) > MAX_BYTES:
        raise ValueError(f"an array of {len(data)} bytes is over TIFF's limit of {MAX_BYTES} bytes")
    # The directory follows the header, the bits of each sample follow the directory, then the pixels.
    fields = [(_WIDTH, 4, [width]), (_HEIGHT, 4, [height]), (_BITS, 3, [bits] * channels), (_COMPRESSION, 3, [_NONE]),
              (_PHOTOMETRIC, 3, [2 if channels > 2 else 1]), (_OFFSETS, 4, [0]), (_SAMPLES, 3, [channels]),
              (_ROWS, 4, [height]), (_SIZES, 4, [len(data)]), (_PLANAR, 3, [1])]
    if channels in (2, 4):
        fields.append((_EXTRA, 3, [_UNASSOCIATED]))
    extra_at = 8 + 2 + 12 * len(fields) + 4
    extra = struct.pack(f"<{channels}H", *[bits] * channels) if channels > 2 else b""
    directory = b"".join(_entry(tag, kind, values, extra_at, extra_at + len(extra)) for tag, kind, values in fields)
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + directory + bytes(4) + extra + data


def _entry(tag: int, kind: int, values: list[int], extra_at: int, pixels_at: int) -> bytes:
    if tag == _OFFSETS:
        values = [pixels_at]
    packed = struct.pack(f"<{len(values)}{_CODES[kind]}", *values)
    place = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", extra_at)
    return struct.pack("<HHI", tag, kind, len(values)) + place


def read(file: bytes) -> NDArray[Any]:
    """[H,W] of grey, else [H,W,C]."""
    import numpy as np

    try:
        fields = _fields(file)
        width, height, bits = fields[_WIDTH][0], fields[_HEIGHT][0], set(fields[_BITS])
        samples = fields.get(_SAMPLES, [1])[0]
        rows = min(fields.get(_ROWS, [height])[0], height)
        compression = fields.get(_COMPRESSION, [_NONE])[0]
        strips = list(zip(fields[_OFFSETS], fields[_SIZES], strict=True))
    except (KeyError, IndexError, ValueError, struct.error):
        raise ValueError("a TIFF of another kind, or a damaged one") from None
    if bits not in ({8}, {16}) or compression not in (_NONE, _DEFLATE) or fields.get(_PLANAR, [1]) != [1]:
        raise ValueError("a TIFF of another kind")
    dtype = np.dtype("u1" if bits == {8} else "<u2")
    pixels = np.empty((height, width, samples), dtype)
    for i, (offset, size) in enumerate(strips):
        part = pixels[i * rows:(i + 1) * rows]
        data = file[offset:offset + size]
        data = zlib.decompress(data) if compression == _DEFLATE else data
        part[...] = np.frombuffer(data, dtype, part.size).reshape(part.shape)
    if fields.get(_PREDICTOR) == [_HORIZONTAL]:
        np.cumsum(pixels, axis=1, dtype=dtype, out=pixels)  # each sample is its left one and a difference
    pixels = pixels.astype(dtype.newbyteorder("="), copy=False)
    return pixels[:, :, 0] if samples == 1 else pixels


def _fields(file: bytes) -> dict[int, list[int]]:
    """Values of the first directory's fields of whole numbers."""
    if file[:4] != b"II*\0":
        raise ValueError("no little-endian TIFF")
    (at,) = struct.unpack_from("<I", file, 4)
    (count,) = struct.unpack_from("<H", file, at)
    fields = {}
    for i in range(count):
        tag, kind, values = struct.unpack_from("<HHI", file, at + 2 + 12 * i)
        if kind not in _BYTES:
            continue
        place = at + 2 + 12 * i + 8
        if _BYTES[kind] * values > 4:
            (place,) = struct.unpack_from("<I", file, place)
        fields[tag] = list(struct.unpack_from(f"<{values}{_CODES[kind]}", file, place))
    return fields
