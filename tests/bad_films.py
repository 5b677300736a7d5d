"""Files that are no film, or an odd one."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image
from tiny import film


def bomb() -> bytes:
    """A PNG of 60000 x 60000 pixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(9)))
        + chunk(b"IEND", b"")
    )


def animated() -> bytes:
    """A PNG of two frames."""
    frames = [Image.fromarray(film(seed)[0]) for seed in (0, 1)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def with_alpha() -> bytes:
    """A grey PNG with an opaque alpha channel."""
    picture = Image.fromarray(film(1)[0])
    picture.putalpha(255)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
