"""Tokens are counted offline, or estimated and marked so."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.usage import tokens
from llmthrift_core.usage.tokens import (
    TokenCount,
    count_message_tokens,
    count_tokens,
    tokenizer_status,
)

HAVE = {status.encoding: status.path for status in tokenizer_status() if status.path is not None}
needs_vocabularies = pytest.mark.skipif(
    not {"o200k_base", "cl100k_base"} <= HAVE.keys(), reason="no vocabulary files here: pip install llama-index-core"
)


@pytest.fixture
def no_vocabularies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_loaded", {})
    monkeypatch.setattr(tokens, "_folders", lambda: iter(()))


@needs_vocabularies
@pytest.mark.parametrize(
    ("text", "model", "expected"),
    [
        # Counts by OpenAI's tokenizer page, https://platform.openai.com/tokenizer
        ("hello world", "gpt-4o", TokenCount(2, True, "o200k_base")),
        ("hello world", "gpt-4o-2024-08-06", TokenCount(2, True, "o200k_base")),
        ("hello world", "openai/gpt-4o-mini", TokenCount(2, True, "o200k_base")),
        ("hello world", "openai:gpt-4o-mini", TokenCount(2, True, "o200k_base")),
        ("hello world", "ft:gpt-4o-mini-2024-07-18:org::id", TokenCount(2, True, "o200k_base")),
        ("hello world", "gpt-4", TokenCount(2, True, "cl100k_base")),
        ("hello world", "gpt-oss-120b", TokenCount(2, True, "o200k_base")),
        ("hello world", None, TokenCount(2, False, "o200k_base")),
        ("hello world", "claude-sonnet-4-5", TokenCount(3, False, "o200k_base")),  # 2 * 1.25, rounded up
        ("hello world", "gemini-2.5-pro", TokenCount(3, False, "o200k_base")),
        ("hello world", "llama3:8b", TokenCount(3, False, "o200k_base")),
        ("", "gpt-4o", TokenCount(0, True, "o200k_base")),
        ("", "claude-sonnet-4-5", TokenCount(0, False, "o200k_base")),
    ],
)
def test_count_tokens(text: str, model: str | None, expected: TokenCount) -> None:
    assert count_tokens(text, model) == expected


@needs_vocabularies
def test_special_tokens_in_text_are_text() -> None:
    assert count_tokens("<|endoftext|>", "gpt-4o").tokens > 1


@needs_vocabularies
@pytest.mark.parametrize("text", ["a" * 1_000_000, " " * 1_000_000, "=" * 1_000_000, "漢" * 300_000, "a1" * 500_000, "\n" * 1_000_000])
def test_long_runs_without_a_break_do_not_hang(text: str) -> None:
    count = count_tokens(text, "gpt-4o")
    assert 0 < count.tokens <= len(text)
    assert not count.exact  # it was cut into pieces


@needs_vocabularies
def test_a_megabyte_of_words_is_exact() -> None:
    assert count_tokens(" word" * 200_000, "gpt-4o") == TokenCount(200_000, True, "o200k_base")


@needs_vocabularies
def test_messages_are_framed() -> None:
    # 3 for the reply; 3 for each message, its role and its content: 1 + 1 and 1 + 2; 1 for a name, and the name
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hello world"}]
    assert count_message_tokens(messages, "gpt-4o") == TokenCount(3 + 5 + 6, True, "o200k_base")
    assert count_message_tokens([{"role": "user", "name": "hello", "content": "hello"}], "gpt-4o").tokens == 3 + 5 + 2
    assert count_message_tokens([], "gpt-4o") == TokenCount(3, True, "o200k_base")


@needs_vocabularies
def test_blocks_of_text_count_and_others_make_it_inexact() -> None:
    text = {"type": "text", "text": "hello world"}
    assert count_message_tokens([{"role": "user", "content": [text]}], "gpt-4o") == TokenCount(9, True, "o200k_base")
    image = {"type": "image_url", "image_url": {"url": "data:..."}}
    assert count_message_tokens([{"role": "user", "content": [text, image]}], "gpt-4o") == TokenCount(9, False, "o200k_base")
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "search", "args": {"q": "x"}}]}
    assert count_message_tokens([call], "gpt-4o").tokens > 10
    assert count_message_tokens([{"role": "user", "content": 5}], "gpt-4o").tokens == 7


@pytest.mark.parametrize("text", ["\ud800", "a\udfff b", "\x00", "👩‍👩‍👧", "\ufffe"])
def test_odd_text_is_counted(text: str, request: pytest.FixtureRequest) -> None:
    assert count_tokens(text, "gpt-4o").tokens >= 1
    request.getfixturevalue("no_vocabularies")
    assert count_tokens(text, "gpt-4o").tokens >= 1


@pytest.mark.usefixtures("no_vocabularies")
@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("漢字", 2), ("abcd漢字", 3), ("é" * 3, 2)],
)
def test_without_a_vocabulary_it_estimates_and_says_so(text: str, expected: int) -> None:
    assert count_tokens(text, "gpt-4o") == TokenCount(expected, False, "characters")
    assert count_message_tokens([{"role": "user", "content": text}], "gpt-4o") == TokenCount(3 + 3 + 1 + expected, False, "characters")


@needs_vocabularies
@given(st.text())
def test_any_text_has_a_count(text: str) -> None:
    assert 0 <= count_tokens(text, "gpt-4o").tokens <= len(text.encode("utf-8", "replace"))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tokens, "find_spec", lambda name: None)
    monkeypatch.setattr(tokens, "_loaded", {})
    monkeypatch.setattr("tiktoken.registry.ENCODINGS", {})
    yield tmp_path
    assert os.environ["TIKTOKEN_CACHE_DIR"] == str(tmp_path)


@needs_vocabularies
def test_a_damaged_file_is_neither_used_nor_deleted(own_cache: Path) -> None:
    damaged = own_cache / "fb374d419588a4632f3f557e76b4b70aebbca790"
    damaged.write_bytes(b"not a vocabulary")
    assert count_tokens("hello world", "gpt-4o") == TokenCount(3, False, "characters")
    assert damaged.read_bytes() == b"not a vocabulary"
    assert {status.path for status in tokenizer_status()} == {None}


@needs_vocabularies
def test_tiktokens_own_cache_is_used(own_cache: Path) -> None:
    found = HAVE["o200k_base"]
    (own_cache / found.name).write_bytes(found.read_bytes())
    assert count_tokens("hello world", "gpt-4o") == TokenCount(2, True, "o200k_base")
    assert [status.path for status in tokenizer_status() if status.path] == [own_cache / found.name]


def test_finding_the_files_imports_neither_package() -> None:
    import subprocess

    code = (
        "import sys; from llmthrift_core.usage.tokens import count_tokens, tokenizer_status; "
        "tokenizer_status(); count_tokens('a', 'gpt-4o');"
        "assert not {'litellm', 'llama_index.core'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
