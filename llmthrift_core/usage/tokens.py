"""Counting tokens offline: exactly for OpenAI's models where a vocabulary file is at hand, flagged as inexact otherwise.

tiktoken downloads its vocabularies; here nothing is ever downloaded. The files are taken from where they already are:
tiktoken's own cache, or the copies inside llama-index-core (extra `tokens`) and litellm, neither of which is imported for it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.usage.pieces import PieceCounts

if TYPE_CHECKING:
    from tiktoken import Encoding

logger = logging.getLogger("llmthrift")

# SHA-256 of the vocabulary files, as tiktoken_ext.openai_public states them.
_HASHES = {
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "p50k_base": "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
}
_URL = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"  # tiktoken names the cached file by the SHA-1 of this
# The same vocabulary with more special tokens, which plain text does not contain.
_SAME_TEXT = {"o200k_harmony": "o200k_base", "p50k_edit": "p50k_base"}

# o200k counts too few tokens for these. Margins for reserving, not measurements: settled calls tell the real ratio.
_MARGINS = (("claude", 1.25), ("gemini", 1.15))
_OTHER_MARGIN = 1.15

# "How to count tokens with tiktoken", OpenAI Cookbook: each message is framed by 3 tokens, a name costs 1, the reply is
# primed with 3.
_PER_MESSAGE, _PER_NAME, _REPLY = 3, 1, 3

# tiktoken's merging is quadratic in the length of one piece of its pattern; ordinary text has no run as long as this.
_LONG = 2_000
_WORD_OR_MARK = re.compile(r"\w+|[^\w\s]")
_LONG_RUN = re.compile(rf"\S{{{_LONG},}}|\s{{{_LONG},}}")


@dataclass(frozen=True, slots=True)
class TokenCount:
    """A number of tokens.

    Attributes:
        tokens: how many.
        exact: as the provider counts them; otherwise an estimate.
        method: the vocabulary that counted, or "characters".
    """

    tokens: int
    exact: bool
    method: str


@dataclass(frozen=True, slots=True)
class TokenizerFile:
    """A vocabulary and where it was found; `path` is None where it was not."""

    encoding: str
    path: Path | None


def count_tokens(text: str, model: str | None = None) -> TokenCount:
    """The tokens of a text.

    Exact for OpenAI's models. Others are counted with o200k_base and a margin. Without a vocabulary file: a token for four
    ASCII characters and for three bytes of anything else in UTF-8.
    """
    name, margin, exact = _vocabulary(model)
    encoding = _encoding(name)
    if encoding is None:
        return TokenCount(_by_characters(text), False, "characters")
    tokens, whole = _encoded(encoding, text)
    return TokenCount(ceil(tokens * margin), exact and whole, name)


def most_tokens(text: str, counted: int) -> int:
    """The most tokens that another tokenizer is likely to make of a text: one that merges no punctuation, as in JSON or code.

    At least what was counted here, and at most twice that.

    >>> most_tokens('{"city": {"type": "string"}}', 10), most_tokens("To be, or not to be", 7)
    (15, 7)
    """
    return min(max(counted, sum(1 for _ in _WORD_OR_MARK.finditer(text))), 2 * counted)


def count_message_tokens(messages: Iterable[Mapping[str, Any]], model: str | None = None) -> TokenCount:
    """The input tokens of a chat, with what frames each message.

    Args:
        messages: {"role": ..., "content": ...}, optionally with "name" and "tool_calls"; content is text or a list of blocks.
            What is not text, such as an image, is not counted, and makes the count inexact.
        model: the model's name.
    """
    name, margin, exact = _vocabulary(model)
    encoding = _encoding(name)
    total = _REPLY
    for message in messages:
        total += _PER_MESSAGE + (_PER_NAME if message.get("name") else 0)
        for text, is_plain in _texts(message):
            exact = exact and is_plain
            if encoding is None:
                total += _by_characters(text)
            else:
                tokens, whole = _encoded(encoding, text)
                total += tokens
                exact = exact and whole
    if encoding is None:
        return TokenCount(total, False, "characters")
    return TokenCount(ceil(total * margin), exact, name)


def tokenizer_status() -> list[TokenizerFile]:
    """Each vocabulary and where it is, for diagnosis."""
    return [TokenizerFile(name, next((path for path, _ in _files(name)), None)) for name in _HASHES]


def is_loaded(model: str | None = None) -> bool:
    """Whether counting for this model reads no file any more."""
    return bool(_loaded) and _vocabulary(model)[0] in _loaded


_loaded: dict[str, Encoding | None] = {}
_loading = ForkedLock()


def _encoding(name: str) -> Encoding | None:
    try:
        return _loaded[name]
    except KeyError:
        with _loading:
            if name not in _loaded:
                _loaded[name] = _load(name)
            return _loaded[name]


def _load(name: str) -> Encoding | None:
    import tiktoken

    for path, content in _files(name):
        # tiktoken deletes a file whose hash is wrong and downloads another: it gets a checked copy in a folder of its own.
        before = os.environ.get("TIKTOKEN_CACHE_DIR")
        try:
            with tempfile.TemporaryDirectory(prefix="llmthrift-") as folder:
                (Path(folder) / path.name).write_bytes(content)
                os.environ["TIKTOKEN_CACHE_DIR"] = folder
                return tiktoken.get_encoding(name)
        except OSError as error:
            logger.warning("the vocabulary %s cannot be loaded: %s", name, error)
            return None
        finally:
            if before is None:
                os.environ.pop("TIKTOKEN_CACHE_DIR", None)
            else:
                os.environ["TIKTOKEN_CACHE_DIR"] = before
    logger.info("no vocabulary file of %s found: tokens are estimated (pip install 'llmthrift[tokens]' brings one)", name)
    return None


def _files(name: str) -> Iterator[tuple[Path, bytes]]:
    """The sound copies of a vocabulary file on this machine."""
    file_name = hashlib.sha1(_URL.format(name).encode(), usedforsecurity=False).hexdigest()
    for folder in _folders():
        path = folder / file_name
        try:
            content = path.read_bytes()
        except OSError:
            continue
        if hashlib.sha256(content).hexdigest() == _HASHES.get(name):
            yield path, content


def _folders() -> Iterator[Path]:
    own = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    yield Path(own) if own else Path(tempfile.gettempdir()) / "data-gym-cache"
    for package, inside in (("llama_index.core", "_static/tiktoken_cache"), ("litellm", "litellm_core_utils/tokenizers")):
        try:
            spec = find_spec(package)  # imports at most the namespace package llama_index, which has no code
        except ModuleNotFoundError:
            continue
        for location in spec.submodule_search_locations or () if spec is not None else ():
            yield Path(location) / inside


@lru_cache(maxsize=256)
def _vocabulary(model: str | None) -> tuple[str, float, bool]:
    """The vocabulary for a model, the margin over what it counts, and whether it counts exactly."""
    if model is None:
        return "o200k_base", 1.0, False
    from tiktoken.model import encoding_name_for_model

    name = model.strip().lower().rpartition("/")[2]
    if not name.startswith("ft:"):
        name = name.rpartition(":")[2] or name
    try:
        encoding = encoding_name_for_model(name)
    except KeyError:
        for family, margin in _MARGINS:
            if family in name:
                return "o200k_base", margin, False
        return "o200k_base", 1.0 if re.match(r"gpt|chatgpt|o\d", name) else _OTHER_MARGIN, False
    encoding = _SAME_TEXT.get(encoding, encoding)
    return (encoding, 1.0, True) if encoding in _HASHES else ("o200k_base", 1.0, False)


def _encoded(encoding: Encoding, text: str) -> tuple[int, bool]:
    """The tokens, and whether the text was encoded in one piece."""
    if not text:
        return 0, True
    if len(text) < _LONG or not _has_long_run(text):
        if encoding.name == "o200k_base" and text.isascii():
            return _pieces(encoding).count(text), True
        return len(encoding.encode_ordinary(text)), True
    pieces: list[str] = []
    end = 0
    for run in _LONG_RUN.finditer(text):
        pieces.append(text[end : run.start()])
        pieces += [text[start : min(start + _LONG, run.end())] for start in range(run.start(), run.end(), _LONG)]
        end = run.end()
    pieces.append(text[end:])
    return sum(len(encoding.encode_ordinary(piece)) for piece in pieces if piece), False


def _has_long_run(text: str) -> bool:
    words = text.split()
    if max(map(len, words), default=0) < _LONG and len(text) - sum(map(len, words)) < _LONG:  # much faster than the pattern
        return False
    return _LONG_RUN.search(text) is not None


@cache
def _pieces(encoding: Encoding) -> PieceCounts:
    return PieceCounts(encoding.encode_ordinary)


def _by_characters(text: str) -> int:
    size = len(text.encode("utf-8", "replace"))
    if size == len(text):
        return ceil(size / 4)
    ascii_characters = sum(character < "\x80" for character in text)
    return ceil(ascii_characters / 4 + (size - ascii_characters) / 3)


def _texts(message: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """The texts of a message, and whether each is counted by the provider just so."""
    yield str(message.get("role", "")), True
    if name := message.get("name"):
        yield str(name), True
    content = message.get("content")
    if isinstance(content, str):
        yield content, True
    else:
        for block in content if isinstance(content, Iterable) else ():
            text = block if isinstance(block, str) else block.get("text") if isinstance(block, Mapping) else None
            yield (text, True) if isinstance(text, str) else ("", False)
    for call in message.get("tool_calls") or ():
        yield str(call), False
