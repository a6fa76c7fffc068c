"""Small files whose headers say what tests need."""

from __future__ import annotations

import base64
import struct
import zlib


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 2, 0, 0, 0) + b"\0" * 16


def jpeg(width: int, height: int) -> bytes:
    exif = b"\xff\xe1" + struct.pack(">H", 300) + b"\xff\xc0" * 149
    return b"\xff\xd8" + exif + b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\0" * 20


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0" * 10


def webp(width: int, height: int) -> bytes:
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\0\0\0\0WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + sizes


def wav(seconds: float) -> bytes:
    body = b"\0" * int(16_000 * seconds)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(body))
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, 8_000, 16_000, 2, 16)
        + b"data\0\0\0\0"
        + body
    )


def mp4(seconds: int) -> bytes:
    return (
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom\0\0\0\x6cmoov\0\0\0\x64mvhd"
        + struct.pack(">IIIII", 0, 0, 0, 1_000, 1_000 * seconds)
        + b"\0" * 80
    )


def pdf(pages: int, *, packed: bool = False) -> bytes:
    objects = b"".join(b"<< /Type /Page /Parent 1 0 R >>\n" for _ in range(pages)) + b"<< /Type /Pages /Count %d >>\n" % pages
    if packed:
        objects = b"9 0 obj << /Type /ObjStm /Filter /FlateDecode >> stream\n" + zlib.compress(objects) + b"\nendstream"
    return b"%PDF-1.7\n" + objects + b"\n%%EOF"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
