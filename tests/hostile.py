"""Malicious and damaged files, and malicious names."""

import struct
import zlib


def png_header(width: int, height: int) -> bytes:
    """Returns a small PNG file whose header states the given size in pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + content + chunk(b"IEND", b"")


HOSTILE_NAMES = (
    "..",
    "../../evil",
    "/tmp/evil",
    "=cmd|'/c calc'!A1",
    "/*DATA*/",
    "<!--<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "a|b`c`[d](e)",
)
