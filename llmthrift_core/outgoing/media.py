"""The tokens that a picture, document, recording or video may be billed as, by the documentation of the model's maker."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import ceil
from typing import Final, Literal

from llmthrift_core.outgoing.measures import audio_seconds, image_size, pdf_pages, video_seconds

Kind = Literal["image", "document", "audio", "video"]

# OpenAI, "Images and vision": scaled into 2048 x 2048 pixels, then to a shortest side of 768; base tokens, and tokens for each tile
# of 512 x 512. detail="low" pays the base alone. The first pattern that fits counts.
_TILED: Final = (
    (re.compile(r"gpt-4o-mini"), 2833, 5667),
    (re.compile(r"(?:gpt-4\.1|o4|gpt-5(?:\.\d+)?(?:-codex)?)-(?:mini|nano)|codex-mini"), 0, 0),
    (re.compile(r"o1|o3"), 75, 150),
    (re.compile(r"computer-use"), 65, 129),
    (re.compile(r"gpt-5"), 70, 140),
    (re.compile(r"gpt|chatgpt"), 85, 170),
)
# The same page: patches of 32 x 32 pixels, at most so many, times a factor; detail has no effect. Where the page and what users were
# billed differ (community.openai.com, 1344040 and 1377015), the higher figure counts.
_PATCHED: Final = (
    (re.compile(r"gpt-5\.\d"), 2500, 1.62),
    (re.compile(r"(?:gpt-4\.1|gpt-5)-mini"), 1536, 1.62),
    (re.compile(r"(?:gpt-4\.1|gpt-5)-nano"), 1536, 2.46),
    (re.compile(r"o4-mini|codex-mini"), 1536, 1.72),
)
_ORIGINAL_PATCHES: Final = 10_000  # the same page, detail="original" of GPT-5.4 and later
_MOST_TILES: Final = 8  # 768 x 2048
# Anthropic, "Vision": patches of 28 x 28 pixels (formerly width x height / 750), scaled down to the model's native resolution.
_CLAUDE_STANDARD: Final = re.compile(r"claude-(?:[23]|instant)|claude-(?:opus|sonnet|haiku)-4(?:-[0-6])?(?!\d|-[7-9])")
_CLAUDE_TOKENS, _CLAUDE_TOKENS_LARGE = 1_600, 4_784
# Google, "Understand and count tokens": 258 up to 384 x 384 pixels, larger ones 258 for each tile, scaled into 3072 x 3072 pixels.
_GEMINI_TILE: Final = 258
_GEMINI_MOST_TILES: Final = 24
# Google, "Media resolution": Gemini 3 takes 1120 by default and 2240 at most for a picture; for a page, whose text is free, 560 by
# default and 1120 at most. Before, a page took 258.
_GEMINI_3: Final = re.compile(r"gemini-(?:[3-9]|\d\d)")
_GEMINI_3_IMAGE, _GEMINI_3_IMAGE_MOST = 1_120, 2_240
_GEMINI_PAGE: Final = 1_120
# Other makers: Qwen2-VL's technical report has patches of 28 x 28 pixels, at most 16,384; Pixtral, Llama 4 and Grok stay below that.
_OTHER_PATCH, _OTHER_MOST = 28, 16_384
# Bytes that are no picture we can read (HEIC, AVIF, a damaged file): the most that any maker above documents for one picture.
_UNREADABLE_IMAGE: Final = 10_000
# Anthropic, "PDF support": 1,500 to 3,000 tokens of text for a page, and the picture of the page beside it; OpenAI, "File inputs", takes
# text and picture too.
_PAGE_TEXT: Final = 3_000
_PAGE_SIZE: Final = (1_545, 2_000)  # pixels: US letter and A4 at the largest size at which a page is rendered
# An office file is packed: ten bytes of text in a byte, and four of them in a token.
_PACKED_TOKENS_PER_BYTE: Final = 2.5
_TOKENS_PER_BYTE: Final = 0.5
# Google, "Understand and count tokens": audio 32 tokens a second, video 263 at one picture a second with its sound; the most that other
# makers state is 25 for audio (Qwen2-Audio) and 10 (OpenAI, "Managing costs": a token for 100 ms).
_AUDIO_TOKENS_PER_SECOND: Final = 32
_VIDEO_TOKENS_PER_FRAME: Final = 280  # a picture of Gemini 3 at high resolution; 258 before
_OPENAI: Final = re.compile(r"gpt|chatgpt|o\d|computer-use|codex")
_PACKED: Final = ("officedocument", "opendocument", "zip", "msword", "ms-excel", "ms-powerpoint", "epub")


@dataclass(frozen=True, slots=True)
class Media:
    """Something other than text in a message.

    Attributes:
        kind: "image", "document", "audio" or "video".
        data: its bytes; None where only a URL or the id of a file says which it is.
        mime: such as "application/pdf"; "" where it is not said.
        detail: how closely to look, as the maker names it: "low", "high", "auto", "original", or None.
        frames_per_second: pictures taken of a video.
        name: how an error names it.
    """

    kind: Kind
    data: bytes | None = None
    mime: str = ""
    detail: str | None = None
    frames_per_second: float = 1.0
    name: str = ""


def tokens_of_media(media: Media, model: str) -> int | None:
    """The most tokens that the model's maker bills for it; None where nothing bounds them."""
    name = model.strip().lower().rpartition("/")[2]
    data = media.data
    if media.kind == "image":
        if data is None:
            return tokens_of_image(None, media.detail, name)
        size = image_size(data)
        most = tokens_of_image(size, media.detail, name)
        return most if size is not None else max(most, _UNREADABLE_IMAGE)
    if data is None:
        return None
    if media.kind == "audio":
        return ceil(audio_seconds(data) * _AUDIO_TOKENS_PER_SECOND)
    if media.kind == "video":
        frames = _VIDEO_TOKENS_PER_FRAME * max(media.frames_per_second, 1.0)
        return ceil(video_seconds(data) * (frames + _AUDIO_TOKENS_PER_SECOND))
    if any(packed in media.mime for packed in _PACKED) or data[:2] == b"PK":
        return ceil(len(data) * _PACKED_TOKENS_PER_BYTE)
    if "pdf" in media.mime or data[:5] == b"%PDF-" or not media.mime:
        pages = pdf_pages(data)
        page = _GEMINI_PAGE if "gemini" in name else _PAGE_TEXT + tokens_of_image(_PAGE_SIZE, None, name)
        return None if pages is None else pages * page
    return ceil(len(data) * _TOKENS_PER_BYTE)


def tokens_of_image(size: tuple[int, int] | None, detail: str | None, name: str) -> int:
    """The most tokens of a picture; of a size that is not known, the most that the model takes."""
    if "claude" in name:
        most = _CLAUDE_TOKENS if _CLAUDE_STANDARD.search(name) else _CLAUDE_TOKENS_LARGE
        return most if size is None else min(most, max(_patches(size, 28), ceil(size[0] * size[1] / 750)))
    if "gemini" in name:
        return _gemini_image(size, detail, name)
    if _OPENAI.match(name):
        return max(_tiled(size, detail, name), _patched(size, detail, name))
    return _OTHER_MOST if size is None else min(_OTHER_MOST, _patches(size, _OTHER_PATCH))


def _tiled(size: tuple[int, int] | None, detail: str | None, name: str) -> int:
    base, each = next((found[1:] for found in _TILED if found[0].match(name)), (85, 170))
    if detail == "low":
        return base
    if size is None:
        return base + each * _MOST_TILES
    longest, shortest = max(size), min(size)
    scale = min(1.0, 2048 / longest)
    scale *= min(1.0, 768 / (shortest * scale))
    # A hair less, since 768.0000001 pixels are not two tiles of 512 and a third.
    return base + each * ceil(size[0] * scale / 512 - 1e-6) * ceil(size[1] * scale / 512 - 1e-6)


def _patched(size: tuple[int, int] | None, detail: str | None, name: str) -> int:
    most, factor = next((found[1:] for found in _PATCHED if found[0].match(name)), (0, 0.0))
    if most and detail == "original":
        most = _ORIGINAL_PATCHES
    return ceil((most if size is None else min(most, _patches(size, 32))) * factor)


def _gemini_image(size: tuple[int, int] | None, detail: str | None, name: str) -> int:
    if _GEMINI_3.search(name):
        return _GEMINI_3_IMAGE_MOST if detail is not None and "ultra" in detail.lower() else _GEMINI_3_IMAGE
    if size is None:
        return _GEMINI_TILE * _GEMINI_MOST_TILES
    if max(size) <= 384:
        return _GEMINI_TILE
    unit = min(max(min(size) / 1.5, 256), 768)
    return _GEMINI_TILE * min(ceil(size[0] / unit) * ceil(size[1] / unit), _GEMINI_MOST_TILES)


def _patches(size: tuple[int, int], side: int) -> int:
    return ceil(size[0] / side) * ceil(size[1] / side)
