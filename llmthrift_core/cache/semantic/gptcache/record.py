"""The form of an entry beside GPTCache's own question and answer: a header that can be listed, and a record. Both are JSON.

GPTCache lists sessions for all questions at once and reads the rows that belong to a question one question at a time, in about 20 ms
on SQLite. So what is needed of all entries is the name of a session, and the rest are rows that belong to the question.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from llmthrift_core.cache.entry import Entry, EntryView, metadata_from_json
from llmthrift_core.cache.semantic.store import NewAnswer
from llmthrift_core.cache.store import SCOPES
from llmthrift_core.errors import StorageError

OURS: Final = "llmthrift:"
_LONGEST_HEADER: Final = 1_000  # characters: GPTCache's column of session names, on databases that enforce it
_LONGEST_PART: Final = 3_000  # its column of rows that belong to a question
_TEXTS: Final = ("model", "provider", "user", "feature", "prompt_version", "metadata", "usage")
_to_json = json.JSONEncoder(separators=(",", ":")).encode


class Header(NamedTuple):
    """What is known of an entry without reading its row.

    Attributes:
        marks: hashes of the model, user, labels and so on that it is removed by; None where there are too many for a header.
    """

    scope: bytes
    key: bytes
    namespace: str
    answer_class: int
    was_right: int | None
    size_bytes: int
    created_us: int
    expires_us: int | None
    marks: tuple[str, ...] | None


class Record(NamedTuple):
    """What is read of an entry beside question and answer.

    Attributes:
        labels: pairs of "tag" or "source" and a value.
    """

    header: Header
    model: str
    provider: str | None
    user: str | None
    feature: str | None
    prompt_version: str | None
    metadata: dict[str, str]
    usage: str
    payload: bytes
    labels: tuple[tuple[str, str], ...]

    def marks(self) -> tuple[str, ...]:
        """The hashes of all that the entry is removed by."""
        return marks_of(self, self.labels)

    def entry(self) -> Entry:
        """As it is served."""
        header = self.header
        return Entry(
            header.key,
            header.namespace,
            self.model,
            self.provider,
            self.metadata,
            self.payload,
            self.usage,
            header.created_us,
            header.expires_us,
        )

    def view(self, used_us: int, hits: int) -> EntryView:
        """As it is listed."""
        header = self.header
        return EntryView(
            header.key.hex(),
            header.namespace,
            self.model,
            self.provider,
            self.user,
            self.feature,
            self.prompt_version,
            self.metadata,
            header.size_bytes,
            header.created_us,
            header.expires_us,
            used_us,
            hits,
        )


def mark(kind: str, value: str) -> str:
    """A hash of one thing that an entry is removed by, such as ("tag", "faq")."""
    return blake2b(f"{kind}={value}".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def marks_of(made: NewAnswer | Record, labels: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """The hashes of all that an entry is removed by."""
    made_for = [(name, value) for name in SCOPES if name != "namespace" and isinstance(value := getattr(made, name), str)]
    return tuple(mark(kind, value) for kind, value in (*made_for, *labels))


def header_of(new: NewAnswer, labels: Sequence[tuple[str, str]]) -> Header:
    """The header of an entry that is stored now."""
    header = Header(
        new.scope,
        new.key,
        new.namespace,
        new.answer_class,
        new.was_right,
        new.size_bytes,
        new.created_us,
        new.expires_us,
        marks_of(new, labels),
    )
    return header if len(header_text(header)) <= _LONGEST_HEADER else header._replace(marks=None)


def header_text(header: Header) -> str:
    """The name of the session of an entry."""
    return OURS + _to_json([header.scope.hex(), header.key.hex(), *header[2:]])


def header_from_text(text: Any) -> Header | None:
    """The header that `header_text` wrote; None for anything else."""
    if type(text) is not str or not text.startswith(OURS):
        return None
    try:
        scope, key, namespace, answer_class, was_right, size_bytes, created_us, expires_us, marks = json.loads(text[len(OURS) :])
        header = Header(
            bytes.fromhex(scope), bytes.fromhex(key), namespace, answer_class, was_right, size_bytes, created_us, expires_us, None
        )
    except (ValueError, TypeError, RecursionError):
        return None
    numbers = (answer_class, size_bytes, created_us)
    are_typed = type(namespace) is str and all(type(number) is int for number in numbers) and was_right in (None, 0, 1)
    if not are_typed or not (expires_us is None or type(expires_us) is int):
        return None
    if marks is None:
        return header
    return header._replace(marks=tuple(marks)) if type(marks) is list and all(type(each) is str for each in marks) else None


def parts_of(new: NewAnswer, header: Header, labels: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The record of an entry as named texts that fit into GPTCache's rows.

    Raises:
        StorageError: the namespace is longer than the name of a session may be.
    """
    name = header_text(header)
    if len(name) > _LONGEST_HEADER:
        raise StorageError(f"a namespace of {len(new.namespace)} characters is too long for GPTCache, which keeps it in a session's name")
    payload = None if new.payload is None else base64.b64encode(new.payload).decode()
    values = {text: getattr(new, text) for text in _TEXTS} | {"header": name, "labels": [list(label) for label in labels]}
    text = _to_json(values | {"payload": payload})
    starts = range(0, len(text), _LONGEST_PART)
    return [(f"{OURS}{number}", text[start : start + _LONGEST_PART]) for number, start in enumerate(starts)]


def is_ours(parts: Iterable[tuple[Any, Any]]) -> bool:
    """Whether a question has a record, readable or not."""
    return any(str(name).startswith(OURS) for name, _ in parts)


def record_of(parts: Iterable[tuple[Any, Any]]) -> Record | None:
    """The record in the rows that belong to a question; None for anything that `parts_of` did not write."""
    ours = [(str(name)[len(OURS) :], text) for name, text in parts if str(name).startswith(OURS)]
    try:
        values = json.loads("".join(text for _, text in sorted(ours, key=lambda part: int(part[0]))))
        header = header_from_text(values["header"])
        model, provider, user, feature, version, metadata, usage = (values[name] for name in _TEXTS)
        labels = tuple((kind, value) for kind, value in values["labels"])
        payload = b"" if values["payload"] is None else base64.b64decode(values["payload"], validate=True)
        pairs = {} if metadata is None else metadata_from_json(metadata)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    texts = (provider, user, feature, version)
    if header is None or type(model) is not str or type(usage) is not str or not all(each is None or type(each) is str for each in texts):
        return None
    return Record(header, model, provider, user, feature, version, pairs, usage, payload, labels)
