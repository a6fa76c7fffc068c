"""Counts that say something about any text: how long it is and which kinds of characters it holds. No words.

They are what `capture="features"` keeps of a question, and a part of what a router sees of it. Computed by the ledger's writer for every
call: no numpy, about 10 us for 500 characters.

What they tell of a person's text: its length, its number of words and lines, the shares of digits, capitals, punctuation, code-like and
non-ASCII characters, how often words repeat. So a question can be told from a pasted program or a letter, and two questions of different
length from each other. What they do not tell: any word, name or number, or the order of anything. Only a text that is nothing but a few
question marks, commas or the like can be had back. Who has a text already can say whether these counts may be its own, as with the hash
that is stored beside them.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

MOST_CHARS: Final = 6_000
"""Of a longer text its two ends count: a pasted book is judged by its beginning and its end."""
_KINDS: Final = (b"0123456789", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"?", b",", b".", b"\n", b"+-*/=^<>\\${}()[]", b"_", b"\"'`", b":;")
_OTHER: Final = len(_KINDS)
_NOT_ASCII: Final = _OTHER + 1
_NUMBER_OF_KINDS: Final = _NOT_ASCII + 1
_KIND_OF: Final = bytes(
    _NOT_ASCII if byte >= 128 else next((kind for kind, among in enumerate(_KINDS) if byte in among), _OTHER) for byte in range(256)
)
_CHARS: Final = _NUMBER_OF_KINDS
"""The place of the text's length among the counts."""
LEXICAL: Final = _NUMBER_OF_KINDS + 8
"""How many counts there are."""
_STORED: Final = struct.Struct(f"<{LEXICAL}e")
_ASKING: Final = ("human", "HumanMessageChunk", "user")
_WHOLE: Final = "prompt"
_ROLES: Final = (*_ASKING, "ai", "assistant", "chatbot", "developer", "function", "model", "system", "tool")
_MESSAGE: Final = re.compile(rf"^({'|'.join(_ROLES)}): ", re.MULTILINE)


def two_ends(text: str, most: int) -> str:
    """A text of up to so many characters as it is; the two ends of a longer one, a line apart.

    >>> two_ends("abcdef", 6), two_ends("abcdefg", 6)
    ('abcdef', 'abc\\nefg')
    """
    return text if len(text) <= most else f"{text[: most // 2]}\n{text[-most // 2 :]}"


class Excerpt(NamedTuple):
    """What the counts of a text are made of.

    Attributes:
        text: the whole, or the two ends of a very long one.
        chars: how long the whole is.
    """

    text: str
    chars: int

    @classmethod
    def of(cls, text: str) -> Excerpt:
        """The excerpt of a whole text."""
        return cls(two_ends(text, MOST_CHARS), len(text))

    def counts(self) -> tuple[float, ...]:
        """The LEXICAL counts: square roots of the shares of kinds of characters, then lengths, most of them as logarithms."""
        text, chars = self
        data = text.encode(errors="replace")
        size = len(data) + 1
        kinds = data.translate(_KIND_OF)
        words = text.split()
        number = len(words) + 1
        lines = [len(line) for line in text.splitlines() if line and not line.isspace()] or [0]
        return (
            *[math.sqrt(kinds.count(kind) / size) for kind in range(_NUMBER_OF_KINDS)],
            math.log1p(chars),
            math.log1p(len(words)),
            len("".join(words)) / number,
            len(set(words)) / number,
            math.log1p(len(lines)),
            math.log1p(max(lines)),
            math.log1p(lines[0]),
            math.log1p(lines[-1]),
        )


def lexical(text: str) -> tuple[float, ...]:
    """The LEXICAL counts of a text.

    >>> counts = lexical("What is 2 + 2?")
    >>> len(counts), round(counts[0] ** 2 * 15)
    (20, 2)
    """
    return Excerpt.of(text).counts()


def to_bytes(counts: Sequence[float]) -> bytes:
    """The counts as they are stored: half floats, little endian, 11 bits of precision."""
    return _STORED.pack(*counts)


def from_bytes(stored: bytes) -> tuple[float, ...]:
    """The counts of `to_bytes`, rounded to half floats.

    Raises:
        ValueError: these bytes are no counts.

    >>> from_bytes(to_bytes(lexical("Hello"))) == stored_counts("Hello")
    True
    """
    try:
        return _STORED.unpack(stored)
    except struct.error:
        raise ValueError(f"counts are {_STORED.size} bytes, not {len(stored)}") from None


def stored_counts(text: str) -> tuple[float, ...]:
    """What the ledger's counts of a text are: those of `lexical`, as precise as they are stored."""
    return from_bytes(to_bytes(lexical(text)))


def chars_of(counts: Sequence[float]) -> int:
    """About how many characters the text has; the error of stored counts is below 1%.

    >>> chars_of(lexical("Hello")), 990 < chars_of(stored_counts("x" * 1000)) < 1010
    (5, True)
    """
    return round(math.expm1(counts[_CHARS]))


def question_of_text(text: str) -> str:
    """The last user message of a stored prompt: what `RouteRequest.question` was. A prompt without roles is its own question.

    A line of a message that looks like the beginning of another message, such as "user: ", is taken for one.

    >>> question_of_text("system: Be brief.\\nhuman: Where is my parcel?\\nai: Which one?\\nhuman: The blue one.\\nIt is late.")
    'The blue one.\\nIt is late.'
    >>> question_of_text("Where is my parcel?")
    'Where is my parcel?'
    """
    asked = [content for role, content in messages_of_text(text) if role in _ASKING]
    return asked[-1] if asked else text


def messages_of_text(text: str) -> list[tuple[str, str]]:
    """The messages of a stored prompt, each with its role as the framework names it. A prompt without roles is one of "user".

    >>> messages_of_text("system: Be brief.\\nhuman: Where is\\nmy parcel?")
    [('system', 'Be brief.'), ('human', 'Where is\\nmy parcel?')]
    """
    messages = list(_MESSAGE.finditer(text))
    if not messages or messages[0].start():
        return [("user", text)]
    ends = [*(message.start() - 1 for message in messages[1:]), len(text)]
    return [(message[1], text[message.end() : end]) for message, end in zip(messages, ends, strict=True)]
