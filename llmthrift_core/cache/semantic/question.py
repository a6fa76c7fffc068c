"""The forms of a question: as it is compared, as it is embedded, as a key, and whose it is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

from llmthrift_core.attribution import Attribution
from llmthrift_core.cache.keys import digest
from llmthrift_core.cache.near_misses.facts import Facts
from llmthrift_core.cache.near_misses.reader import DIGITS
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.texts import as_texts

_SPACES: Final = re.compile(r"\s+")
# Marks at the ends of words, and at the beginning of Spanish ones. "5!" is another number than 5.
_MARKS: Final = re.compile(r"(?:(?<=[^\W\d])|(?<=\d)(?!!)|(?<=[^\W\d]) )[.,;:!?\u2026]+(?=\s|$)|(?<!\S)[\u00bf\u00a1]+(?=\w)")
_TYPED: Final = {
    ord(sign): typed
    for signs, typed in (
        ("\u2019\u2018\u02bc\u00b4", "'"),
        ("\u201c\u201d\u201e\u00ab\u00bb", '"'),
        ("\u2010\u2011\u2012\u2013\u2212", "-"),
    )
    for sign in signs
}
_WORDS: Final = re.compile(r"\w+")
QuestionExtractor = Callable[[str], tuple[str, str] | None]
Turn = tuple[str, str]
"""Who speaks in a conversation, and the text."""
MOST_TEMPERATURE: Final = 1.0
"""Whoever asks for more wants answers that differ."""
_INSTRUCTING: Final = frozenset({"system", "developer"})
_SPEAKING: Final = frozenset({"human", "user", "ai", "assistant"})
_MOST_LINES: Final = 3  # a longer turn is a template filled with documents, whose meaning is not its question's


class QuestionForms:
    """How one cache reads questions.

    Args:
        limits: namespace, sharing and prompt version.
        space: the embedder's name.
        masks: regular expressions whose matches count as equal in the key and the embedding; by name, such as "[USER]", those whose
            matches do not matter to the guard either.

    Raises:
        ConfigurationError: a mask that is no regular expression.
    """

    def __init__(self, limits: CachePolicy, *, space: str, masks: str | Sequence[str] | Mapping[str, str]) -> None:
        named = dict(masks) if isinstance(masks, Mapping) else {}
        try:
            self._named = [(str(name), re.compile(mask)) for name, mask in named.items()]
            self._masks = [] if named else [re.compile(mask) for mask in as_texts("masks", masks)]
        except (re.error, TypeError) as error:
            raise ConfigurationError(f"masks must be regular expressions: {error}") from None
        self._limits = limits
        self._space = space

    def normalised(self, question: str) -> str:
        """In one Unicode form, with single spaces and the digits of one script."""
        text = unicodedata.normalize("NFKC", question)
        return _SPACES.sub(" ", text if text.isascii() else text.translate(DIGITS)).strip()

    def masked(self, text: str) -> str:
        """As it is embedded: what the masks match is a star, or their name."""
        text = self.guarded(text)
        for mask in self._masks:
            text = mask.sub("*", text)
        return text

    def guarded(self, text: str) -> str:
        """As the guard reads it: without what does not matter."""
        for name, mask in self._named:
            text = mask.sub(lambda found, name=name: name, text)  # type: ignore[misc]
        return text

    def tells(self, question: str, answer: str) -> bool:
        """Whether an answer says what does not matter in its question, or a part of it: then it matters, and the answer is its alone.

        Parts are numbers and dates in any spelling, and words with a capital: the customer 0042 is "number 42", Ada Byron "Ada".
        """
        found = [each.group() for _, mask in self._named for each in mask.finditer(question) if each.group().strip()]
        if not found:
            return False
        said, parts = answer.casefold(), _telling_parts(answer)
        return any(value.casefold() in said or not parts.isdisjoint(_telling_parts(value)) for value in found)

    def scope(self, given: str | bytes, question: str, who: Attribution, *, is_own: bool = False) -> bytes:
        """A digest of all that must be equal, and of the user where the question may be about its asker, or the answer is theirs alone.

        Raises:
            UncacheableError: answers are shared by user or feature, and nobody is named.
        """
        limits = self._limits
        sharer = limits.sharer(who)
        user = who.user if is_own or limits.share == "user" else limits.owner(lambda: (question,), who)
        return self._place(given, user, sharer if limits.share == "feature" else None)

    def scope_of_all(self, given: str | bytes) -> bytes:
        """The same for entries of which nobody says whose they are."""
        return self._place(given, None, None)

    def _place(self, given: str | bytes, user: str | None, feature: str | None) -> bytes:
        scope = given if isinstance(given, bytes) else given.encode("utf-8", "surrogatepass")
        parts = (
            self._space,
            self._limits.prompt_version or "",
            "" if user is None else f"u{user}",
            "" if feature is None else f"f{feature}",
        )
        return digest(self._limits.namespace, scope, *(part.encode("utf-8", "surrogatepass") for part in parts))

    def key(self, scope: bytes, text: str) -> bytes:
        """The key of a normalised question in a scope: one for all spellings in capitals and small letters, with any marks at the ends of
        words, and with quotes and hyphens of any kind. Its reader compares them."""
        return digest("semantic", scope, _MARKS.sub("", self.masked(text).translate(_TYPED)).casefold().encode("utf-8", "surrogatepass"))

    def own_key(self, scope: bytes, text: str) -> bytes | None:
        """The key of a question whose answer tells what does not matter in others; None where everything matters."""
        return digest("semantic, its own", scope, text.encode("utf-8", "surrogatepass")) if self._named else None

    def key_as_written(self, scope: bytes, text: str) -> bytes:
        """The key of a normalised question in a scope where `key` belongs to one that differs in its capitals."""
        return digest("semantic, as written", scope, self.masked(text).encode("utf-8", "surrogatepass"))


def _telling_parts(text: str) -> frozenset[str]:
    facts = Facts.of(text)
    names = frozenset(word for word in _WORDS.findall(text) if len(word) > 1 and not word.islower())
    return names | facts.dates | frozenset(number.lstrip("0") for number in facts.numbers)


def hash_of_answer(answer: str) -> int:
    """A number that is the same for answers which differ in case, white space and punctuation only.

    >>> hash_of_answer("Nine to five.") == hash_of_answer("nine to  five")
    True
    """
    words = " ".join(_WORDS.findall(unicodedata.normalize("NFKC", answer).casefold())) or answer
    return int.from_bytes(blake2b(words.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big", signed=True)


def split_turn(text: str, extract_question: QuestionExtractor | None = None) -> tuple[str, str] | None:
    """(context, question) of a turn: the context must be equal, the question is compared. None: the turn is matched exactly only.

    Args:
        extract_question: splits a turn that carries retrieved documents; None from it, or without it a turn of several paragraphs, is
            matched exactly only.

    >>> split_turn("When do you open?")
    ('', 'When do you open?')
    >>> split_turn("Page one.\\n\\nPage two.\\n\\nWhen do you open?") is None
    True
    """
    context, question = "", text
    if extract_question is not None:
        found = extract_question(text)
        if found is None:
            return None
        context, question = found
    elif text.count("\n") >= _MOST_LINES or "\n\n" in text.strip():
        return None
    return (context, question) if question.strip() else None


def split_history(canonical: Sequence[Any]) -> tuple[list[Any], tuple[Turn, ...]]:
    """What of the messages before the last must be equal, and the turns that may be compared by meaning.

    Instructions at the beginning must be equal. Where anything else than what a user and a model wrote stands there, all must.

    Args:
        canonical: messages in canonical form: role, text or blocks, and whatever else decides the answer.

    >>> split_history([["system", "Be brief."], ["user", ["Hi"]], ["assistant", ["Hello."]]])
    ([['system', 'Be brief.']], (('user', 'Hi'), ('assistant', 'Hello.')))
    """
    first = next((place for place, each in enumerate(canonical) if each[0] not in _INSTRUCTING), len(canonical))
    turns: list[Turn] = []
    for role, content, *beside in canonical[first:]:
        texts = [content] if isinstance(content, str) else content
        if role not in _SPEAKING or beside or not all(isinstance(text, str) for text in texts):
            return list(canonical), ()
        turns.append((role, "\n".join(texts)))
    return list(canonical[:first]), tuple(turns)
