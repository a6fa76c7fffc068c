"""Sizes of pictures, PDFs, audio and video, read from their own bytes. None where the bytes do not say."""

from __future__ import annotations

import re
import struct
import zlib
from typing import Final

_PDF_PAGE: Final = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_PDF_COUNT: Final = re.compile(rb"/Count\s+(\d{1,6})(?!\d)")
_PDF_PACKED: Final = re.compile(rb"/Type\s*/ObjStm.{0,500}?stream\r?\n", re.DOTALL)
_MOST_UNPACKED_BYTES: Final = 16_000_000  # of a PDF's object streams, so that a small file cannot unfold into a large one
_STARTS_OF_FRAME: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# kbit/s of MPEG-1 layer III frames by the index in their header (ISO/IEC 11172-3).
_MP3_KBITS: Final = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_MP3_LEAST_BYTES_PER_SECOND: Final = 4_000  # 32 kbit/s, for frames of varying size
_AUDIO_LEAST_BYTES_PER_SECOND: Final = 750  # Opus for speech begins at 6 kbit/s (RFC 6716)
_VIDEO_LEAST_BYTES_PER_SECOND: Final = 12_500  # 100 kbit/s: less than that shows nothing that moves


def image_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a PNG, JPEG, GIF, WEBP or BMP."""
    try:
        size = _image_size(data)
    except (struct.error, IndexError):
        return None
    return size if size is not None and min(size) > 0 else None


def pdf_pages(data: bytes) -> int | None:
    """The pages of a PDF."""
    if b"%PDF-" not in data[:1024]:
        return None
    parts, left = [data], _MOST_UNPACKED_BYTES
    for packed in _PDF_PACKED.finditer(data):
        try:
            parts.append(zlib.decompressobj().decompress(data[packed.end() :], left))
        except zlib.error:  # encrypted, or packed in another way
            continue
        if (left := left - len(parts[-1])) <= 0:
            return None
    pages = sum(len(_PDF_PAGE.findall(part)) for part in parts)
    told = max((int(count) for part in parts for count in _PDF_COUNT.findall(part)), default=0)
    # An outline has a /Count too, of its entries: taken for pages it is too many, which is the safe side.
    return max(pages, told) or None


def audio_seconds(data: bytes) -> float:
    """How long audio lasts at most: by a WAV's or MP3's header, else by its bytes at the lowest rate in use."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE" and len(data) >= 32:
        (rate,) = struct.unpack_from("<I", data, 28)
        if rate:
            return len(data) / int(rate)
    frame = data.find(b"\xff\xfb", 0, 65_536)
    if data[:3] == b"ID3" or frame == 0:
        if (
            frame >= 0
            and b"Xing" not in data[frame : frame + 200]
            and len(data) > frame + 2
            and (kbits := _MP3_KBITS[data[frame + 2] >> 4])
        ):
            return len(data) / (kbits * 125)
        return len(data) / _MP3_LEAST_BYTES_PER_SECOND
    return len(data) / _AUDIO_LEAST_BYTES_PER_SECOND


def video_seconds(data: bytes) -> float:
    """How long a video lasts at most: by an MP4's header, else by its bytes at the lowest rate in use."""
    if (at := data.find(b"mvhd")) >= 0:
        try:
            if data[at + 4] == 1:
                scale, length = struct.unpack_from(">IQ", data, at + 24)
            else:
                scale, length = struct.unpack_from(">II", data, at + 16)
        except (struct.error, IndexError):
            scale = length = 0
        if scale and length:
            return float(length) / float(scale)
    return len(data) / _VIDEO_LEAST_BYTES_PER_SECOND


def _image_size(data: bytes) -> tuple[int, int] | None:
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return struct.unpack_from(">II", data, 16)
    if data[:4] == b"GIF8":
        return struct.unpack_from("<HH", data, 6)
    if data[:2] == b"\xff\xd8":
        return _jpeg_size(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_size(data)
    if data[:2] == b"BM":
        width, height = struct.unpack_from("<ii", data, 18)
        return width, abs(height)
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 < len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
        elif marker in _STARTS_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # without a body
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    form = data[12:16]
    if form == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if form == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if form == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None
