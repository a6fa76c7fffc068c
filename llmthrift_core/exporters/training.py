"""Write judged answers as examples for fine-tuning, one conversation a line, as OpenAI's chat format has them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypedDict

from llmthrift_core.attachments import AccountHost
from llmthrift_core.display import Printed, counted
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.exporters.exported import Period
from llmthrift_core.ledger.judged import LabelledCall, read_labelled
from llmthrift_core.lexical import messages_of_text
from llmthrift_core.moments import Moment
from llmthrift_core.texts import as_texts, require_thrift

Consent = Callable[[Mapping[str, Any]], bool] | str
"""Whose answers may be learned from: a predicate on the call (columns by name, `tags` as a mapping), or a tag."""
_ROLES: Final = {
    **dict.fromkeys(("human", "HumanMessageChunk", "user"), "user"),
    **dict.fromkeys(("ai", "assistant", "chatbot", "model"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
_YES: Final = frozenset({"1", "true", "yes", "y", "on"})
_FEWEST: Final = 10  # that OpenAI's fine-tuning takes: its guide "Supervised fine-tuning"


class TrainingOptions(TypedDict, total=False):
    """What `export_training` takes besides the file and the least quality."""

    since: Moment | None
    until: Moment | None
    models: Sequence[str] | str | None
    features: Sequence[str] | str | None
    consent: Consent | None
    redact: Callable[[str], str] | None
    validation: float


@dataclass(frozen=True, repr=False)
class TrainingExport(Printed):
    """What an export of examples wrote.

    Attributes:
        files: the file to train with and, where `validation` is above zero, the one to check with.
        training, validation: how many examples each holds.
        skipped: how many judged answers were left out, by reason.
        notes: what a reader should know before training.
    """

    files: tuple[Path, ...]
    training: int
    validation: int
    skipped: Mapping[str, int]
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """The figures by name."""
        return {
            "files": [str(file) for file in self.files],
            "training": self.training,
            "validation": self.validation,
            "skipped": dict(self.skipped),
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """All of it as text."""
        lines = [
            f"{counted(count, 'example')} in {file}" for count, file in zip((self.training, self.validation), self.files, strict=False)
        ]
        lines += [f"left out: {count:,} ({reason})" for reason, count in sorted(self.skipped.items(), key=lambda item: (-item[1], item[0]))]
        return "\n".join([*lines, *self.notes])


def export_training(
    thrift: AccountHost,
    path: str | os.PathLike[str],
    *,
    min_quality: float = 0.8,
    since: Moment | None = None,
    until: Moment | None = None,
    models: Sequence[str] | str | None = None,
    features: Sequence[str] | str | None = None,
    consent: Consent | None = None,
    redact: Callable[[str], str] | None = None,
    validation: float = 0.1,
) -> TrainingExport:
    """Write the good answers of a ledger with capture="text" as JSON lines: {"messages": [{"role": ..., "content": ...}, ...]}.

    One conversation is written once, with its best answer, of equal ones the newest; letter case and blanks make no difference. Whether it
    is for training or validation follows from a hash of its first question: the same in every export, and turns of one conversation stay
    together. Files appear when all of them are whole.

    Args:
        path: the file to train with, such as "train.jsonl"; examples for validation go to "train.validation.jsonl" beside it.
        min_quality: the least mean judgement of an answer, 0 to 1.
        since, until: calls of the half-open period [since, until).
        models, features: only answers of these.
        consent: a predicate on the call, or a tag: "training" takes calls tagged training=yes (or true, 1, on), "training=v2" those
            with just that value. None takes all, and says so.
        redact: applied to every message, after what `Thrift(redact=...)` already did before anything was stored.
        validation: the share for validation, from 0 to below 1.

    Raises:
        ConfigurationError: an argument that cannot be used, a place that cannot be written, or answers were judged and no text is stored.
        StorageError: the database cannot be read.
    """
    require_thrift(thrift, "export_training")
    if not 0 <= min_quality <= 1:
        raise ConfigurationError(f"min_quality must lie within 0..1, not {min_quality!r}")
    if not 0 <= validation < 1:
        raise ConfigurationError(f"validation must be a share from 0 to below 1, not {validation!r}")
    file = Path(path)
    if file.suffix != ".jsonl" or file.is_dir():
        raise ConfigurationError(f"examples are written to a file that ends in .jsonl, not to {str(file)!r}")
    period = Period.of(since, until)
    is_allowed = _consented(consent)
    wanted = [
        (column, None if names is None else frozenset(as_texts(column, names)))
        for column, names in (("model", models), ("feature", features))
    ]
    thrift.ledger.catch_up()
    skipped, best = Counter[str](), dict[str, _Example]()
    judged = stored = 0
    with thrift.database.read() as connection:
        for each in read_labelled(connection, since_us=period.since_us, escalations=False):
            call = each.judged.call
            if period.until_us is not None and call["at_us"] >= period.until_us:
                continue
            judged, stored = judged + 1, stored + (each.answer is not None)
            if reason := _reason_against(each, min_quality, wanted, is_allowed):
                skipped[reason] += 1
                continue
            messages = _messages(each, redact)
            if messages is None:
                skipped["a tool's message, which chat examples without its call cannot have"] += 1
                continue
            example = _Example(messages, each.judged.quality, call["at_us"])
            if (known := best.get(example.key)) is not None:
                skipped["the same conversation has an answer as good or better"] += 1
                example = max(known, example, key=lambda one: (one.quality, one.at_us))
            best[example.key] = example
    if judged and not stored:
        raise ConfigurationError(
            f'{counted(judged, "answer was", "answers were")} judged, but no text is stored of them; Thrift(capture="text") stores '
            "prompts and answers from now on"
        )
    return _write(file, [best[key] for key in sorted(best)], validation, skipped, consent)


@dataclass(frozen=True, slots=True)
class _Example:
    messages: Sequence[Mapping[str, str]]
    quality: float
    at_us: int

    @property
    def key(self) -> str:
        """Equal for conversations that differ in letter case and blanks alone; the answer is not in it."""
        return _hash([[each["role"], each["content"]] for each in self.messages[:-1]])

    @property
    def side(self) -> float:
        """Where on 0..1 its first question falls."""
        first = next((each["content"] for each in self.messages if each["role"] == "user"), self.messages[0]["content"])
        return int(_hash([["user", first]])[:13], 16) / 16**13


def _hash(parts: Sequence[Sequence[str]]) -> str:
    plain = [[role, " ".join(content.casefold().split())] for role, content in parts]
    return sha256(json.dumps(plain, ensure_ascii=False).encode(errors="replace")).hexdigest()


def _consented(consent: Consent | None) -> Callable[[Mapping[str, Any]], bool]:
    if consent is None:
        return lambda call: True
    if not isinstance(consent, str):
        if not callable(consent):
            raise ConfigurationError(f"consent must be a predicate on a call, or a tag such as 'training=yes', not {consent!r}")
        return consent
    name, equals, value = consent.partition("=")
    if not name:
        raise ConfigurationError(f"consent must name a tag, such as 'training' or 'training=yes', not {consent!r}")
    if equals:
        return lambda call: call["tags"].get(name) == value
    return lambda call: str(call["tags"].get(name, "")).casefold() in _YES


def _reason_against(
    each: LabelledCall,
    min_quality: float,
    wanted: Sequence[tuple[str, frozenset[str] | None]],
    is_allowed: Callable[[Mapping[str, Any]], bool],
) -> str | None:
    call = each.judged.call
    for column, names in wanted:
        if names is not None and call[column] not in names:
            return f"another {column}"
    if not is_allowed({**call, "tags": each.judged.tags}):
        return "no consent"
    if each.judged.quality < min_quality:
        return "not good enough"
    if call["cache"] == "semantic":
        return "answer to another question, found by meaning"
    if call["tools_called"]:  # its text is a note of the call: who learns it writes that note in place of a call
        return "the answer calls a tool, which is stored as text"
    if not (each.answer or "").strip() or not (each.prompt or "").strip():
        return "no text of the question or the answer is stored"
    return None


def _messages(each: LabelledCall, redact: Callable[[str], str] | None) -> list[dict[str, str]] | None:
    """The conversation with its answer; None where a role has no place in it."""
    found = []
    for role, content in [*messages_of_text(each.prompt or ""), ("assistant", each.answer or "")]:
        if role not in _ROLES:
            return None
        text = content if redact is None else redact(content)
        if not isinstance(text, str):
            raise ConfigurationError(f"redact must return text, not {type(text).__name__}; nothing was written")
        found.append({"role": _ROLES[role], "content": text})
    return found


def _write(
    file: Path, examples: Sequence[_Example], validation: float, skipped: Mapping[str, int], consent: Consent | None
) -> TrainingExport:
    held = [example for example in examples if example.side < validation]
    kept = [example for example in examples if example.side >= validation]
    files = (file, file.with_name(f"{file.stem}.validation.jsonl")) if validation else (file,)
    unfinished = [each.with_name(f".{each.name}.{os.getpid()}.part") for each in files]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        for place, group in zip(unfinished, (kept, held), strict=False):
            with place.open("w", encoding="utf-8", newline="\n", errors="replace") as opened:
                opened.writelines(_lines(group))
        for place, whole in zip(unfinished, files, strict=True):
            os.replace(place, whole)
    except OSError as error:
        raise ConfigurationError(f"cannot write {file}: {error.strerror or type(error).__name__}") from None
    finally:
        for place in unfinished:
            with suppress(OSError):
                place.unlink()
    notes = [] if consent is not None else ["No consent was asked for: consent= takes a predicate or a tag."]
    if len(kept) < _FEWEST:
        notes.append(f"OpenAI takes no fewer than {_FEWEST} examples to train with.")
    return TrainingExport(files, len(kept), len(held), dict(skipped), tuple(notes))


def _lines(examples: Sequence[_Example]) -> Iterator[str]:
    for example in examples:
        yield json.dumps({"messages": list(example.messages)}, ensure_ascii=False) + "\n"
