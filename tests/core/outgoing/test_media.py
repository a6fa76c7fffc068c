"""Ceilings of pictures, documents, recordings and videos are those that the makers document."""

from __future__ import annotations

import pytest

from llmthrift_core.outgoing.measures import audio_seconds, image_size, pdf_pages, video_seconds
from llmthrift_core.outgoing.media import Media, tokens_of_media
from tests.core.outgoing.pictures import gif, jpeg, mp4, pdf, png, wav, webp


@pytest.mark.parametrize("make", [png, jpeg, gif, webp])
def test_the_size_of_a_picture_is_read_from_its_header(make):
    assert image_size(make(640, 481)) == (640, 481)
    assert image_size(make(640, 481)[:8]) is None
    assert image_size(b"") is None


def test_pages_seconds_and_damaged_files():
    assert pdf_pages(pdf(3)) == pdf_pages(pdf(3, packed=True)) == 3
    assert pdf_pages(b"no such thing") is None
    assert pdf_pages(b"%PDF-1.7 encrypted") is None
    assert audio_seconds(wav(2.5)) == pytest.approx(2.5, abs=0.01)
    assert audio_seconds(b"\xff\xfb\x90\x00" + b"\0" * 15_996) == 1.0  # an MP3 of 128 kbit/s
    assert audio_seconds(b"?" * 7_500) == 10.0
    assert video_seconds(mp4(12)) == 12.0
    assert video_seconds(b"?" * 125_000) == 10.0


@pytest.mark.parametrize(
    ("model", "size", "detail", "tokens"),
    [
        ("gpt-4o", (1024, 1024), None, 765),  # OpenAI's own examples
        ("gpt-4o", (2048, 4096), "high", 1105),
        ("gpt-4o", (4096, 8192), "low", 85),
        ("gpt-4o-2024-08-06", (128, 64), "auto", 255),
        ("openai/gpt-4o-mini", (1024, 1024), None, 2833 + 4 * 5667),
        ("gpt-4.1-mini", (1024, 1024), None, 1659),  # 1024 patches times 1.62, rounded up
        ("gpt-4.1-mini", (4000, 4000), "low", 2489),  # 1536 patches at most; detail has no effect
        ("o4-mini", (1024, 1024), None, 1762),
        ("claude-3-5-sonnet-20241022", (1000, 1000), None, 1334),
        ("claude-sonnet-4-5-20250929", (4000, 4000), None, 1600),
        ("claude-opus-4-7", (4000, 4000), None, 4784),
        ("gemini-2.5-flash", (384, 384), None, 258),
        ("gemini-2.5-flash", (960, 540), None, 258 * 6),  # Google's own example: tiles of 360 x 360
        ("gemini-3-pro-preview", (4000, 4000), None, 1120),
        ("qwen2.5-vl-72b", (560, 280), None, 200),
    ],
)
def test_pictures_by_their_size(model, size, detail, tokens):
    assert tokens_of_media(Media("image", png(*size), detail=detail), model) == tokens


def test_a_picture_of_unknown_size_is_the_largest_one():
    assert tokens_of_media(Media("image"), "gpt-4o") == 85 + 8 * 170
    assert tokens_of_media(Media("image"), "claude-sonnet-4-5") == 1600
    unreadable = tokens_of_media(Media("image", b"?" * 1000), "gpt-4o")
    assert unreadable is not None
    assert unreadable >= 10_000


def test_documents_recordings_and_videos():
    page = tokens_of_media(Media("document", pdf(1), "application/pdf"), "claude-sonnet-4-5")
    assert page is not None
    assert 3_000 < page < 5_000
    assert tokens_of_media(Media("document", pdf(7), "application/pdf"), "claude-sonnet-4-5") == 7 * page
    assert tokens_of_media(Media("document", pdf(7), "application/pdf"), "gemini-2.5-flash") == 7 * 1120
    assert tokens_of_media(Media("audio", wav(10), "audio/wav"), "gemini-2.5-flash") == pytest.approx(320, abs=1)
    video = tokens_of_media(Media("video", mp4(10), "video/mp4"), "gemini-2.5-flash")
    assert video is not None
    assert 2_630 <= video < 4_000
    for kind in ("document", "audio", "video"):
        assert tokens_of_media(Media(kind), "gemini-2.5-flash") is None
    assert tokens_of_media(Media("document", b"%PDF-1.7 encrypted", "application/pdf"), "gpt-4o") is None
