"""A PNG file of raw pixels: enough for a preview, where Pillow is not there."""

from __future__ import annotations

import struct
import zlib


def write_rgb(width: int, height: int, rgb: bytes) -> bytes:
    """REQUIRES: rgb holds height rows of width pixels, 3 bytes each."""
    stride = 3 * width
    rows = b"".join(b"\0" + rgb[y * stride:(y + 1) * stride] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 6))
            + _chunk(b"IEND", b""))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
