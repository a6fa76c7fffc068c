"""Counts by remembered pieces are those of tiktoken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.usage import pieces, tokens
from llmthrift_core.usage.pieces import PieceCounts
from llmthrift_core.usage.tokens import tokenizer_status

HAVE = any(status.encoding == "o200k_base" and status.path for status in tokenizer_status())
needs_vocabulary = pytest.mark.skipif(not HAVE, reason="no vocabulary file here: pip install llama-index-core")
_PROSE = st.lists(
    st.sampled_from([*"aZz09 '\n\r\t\x0b\x1c/.,_-", "'s", "'RE ", "don't", "HTTPServer", "  ", "\r\n", "//\n", "12345", "x'lL"]),
    max_size=40,
).map("".join)
_ASCII = st.text(st.characters(max_codepoint=127), max_size=80)


@needs_vocabulary
@given(_PROSE | _ASCII)
def test_a_text_has_as_many_tokens_as_tiktoken_says(text: str) -> None:
    encoding = tokens._encoding("o200k_base")
    assert encoding is not None
    counts = PieceCounts(encoding.encode_ordinary)
    assert counts.count(text) == len(encoding.encode_ordinary(text))
    assert counts.count(text) == len(encoding.encode_ordinary(text)), "remembered"


def test_pieces_are_encoded_once() -> None:
    asked: list[str] = []

    def encode(piece: str) -> list[int]:
        asked.append(piece)
        return [0] * len(piece)

    counts = PieceCounts(encode)
    assert counts.count("one one two") == 11
    assert counts.count("one one two") == 11
    assert sorted(asked) == [" one", " two", "one"]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_MOST", 3)
    counts = PieceCounts(lambda piece: [0])
    assert counts.count(" ".join("abcdefgh")) == 8
    assert len(counts._known) <= 3
