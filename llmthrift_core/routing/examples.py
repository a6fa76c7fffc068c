"""A labelled answer: what routers and cascades learn from."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.lexical import LEXICAL
from llmthrift_core.routing.models import tokens_of

_NEEDED: Final = ("prompt", "model", "quality")
_OPTIONAL: Final = ("call_site", "answer")
_FORMATS: Final = (".csv", ".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True)
class Example:
    """How good one model's answer to one prompt was.

    Attributes:
        prompt: the question as the router will see it; "" where no more than its counts is known.
        model: who answered.
        quality: 0 (useless) to 1 (perfect).
        call_site: where in the application the call is made: a prompt template, a chain, a node of an agent; None if unknown.
        answer: the answer's text, without which a cascade cannot learn.
        context: what else is known of the answer, for a cascade's checks: `{"logprobs": [...]}`.
        counts: what capture="features" kept of the prompt, as `llmthrift_core.lexical` gives it; None where the prompt is known.
        answer_tokens: what the provider counted, for what the model's answers cost; None: told by the answer's text, where that is known.
        latency_seconds: how long the answer took; None: not known.
    """

    prompt: str
    model: str
    quality: float
    call_site: str | None = None
    answer: str | None = None
    context: Mapping[str, Any] | None = field(default=None, hash=False)
    counts: tuple[float, ...] | None = None
    answer_tokens: int | None = None
    latency_seconds: float | None = field(default=None, compare=False)

    @property
    def length(self) -> float | None:
        """About how many tokens the answer has; None where nothing is known of it."""
        if self.answer_tokens is not None:
            return float(self.answer_tokens)
        return None if self.answer is None else float(tokens_of(len(self.answer)))

    @property
    def known(self) -> tuple[str, tuple[float, ...]]:
        """What is known of the prompt: equal for equal prompts and, where their text is not known, also for others with equal counts."""
        return self.prompt, self.counts or ()


class Examples(list[Example]):
    """Examples that were read, and what was left out.

    Attributes:
        skipped: how many rows were left out, by reason.
        models: of a ledger, the model that answered last under each name, by which it can be priced; empty of a file.
        times_us: of a ledger, when each call was made, in microseconds since the epoch; empty of a file.
    """

    def __init__(self, examples: Iterable[Example] = ()) -> None:
        super().__init__(examples)
        self.skipped: Mapping[str, int] = {}
        self.models: Mapping[str, str] = {}
        self.times_us: list[int] = []


def checked(examples: Iterable[Example]) -> list[Example]:
    """The examples, if all of them can be learned from.

    Raises:
        ConfigurationError: which one cannot, and why.
    """
    kept = list(examples)
    for place, example in enumerate(kept):
        if not isinstance(example, Example):
            raise ConfigurationError(f"example {place} is a {type(example).__name__}, not an Example")
        for name, value, optional in (
            ("prompt", example.prompt, False),
            ("model", example.model, False),
            ("call_site", example.call_site, True),
            ("answer", example.answer, True),
        ):
            if not isinstance(value, str) and not (optional and value is None):
                raise ConfigurationError(f"{name} of example {place} must be text, not {type(value).__name__}")
        if not isinstance(tokens := example.answer_tokens, int | None) or (tokens is not None and tokens < 0):
            raise ConfigurationError(f"answer_tokens of example {place} must be a number of tokens, not {tokens!r}")
        if example.counts is not None:
            _check_counts(example, place)
        try:
            quality = float(example.quality)
        except (TypeError, ValueError, OverflowError):
            quality = math.nan
        if not 0 <= quality <= 1:
            raise ConfigurationError(
                f"quality of example {place} (model {example.model!r}) must lie within 0..1, not {example.quality!r}; "
                "leave out what has no label"
            )
    return kept


def _check_counts(example: Example, place: int) -> None:
    if example.prompt:
        raise ConfigurationError(f"example {place} has a prompt and counts; counts are for examples whose prompt is not known")
    counts = example.counts
    if (
        not isinstance(counts, tuple)
        or len(counts) != LEXICAL
        or not all(isinstance(each, float) and math.isfinite(each) for each in counts)
    ):
        raise ConfigurationError(f"counts of example {place} must be a tuple of {LEXICAL} finite floats, as thrift.examples() gives them")


def examples_of_file(path: str | Path) -> Examples:
    """The examples in a file: CSV with a header, or one JSON object a line, in UTF-8.

    Columns are prompt, model and quality (0 to 1), and where known call_site, answer and latency_seconds; others are ignored. A row
    without a quality has no label: it is left out and counted.

    Args:
        path: ends in .csv, .jsonl or .ndjson.

    Raises:
        ConfigurationError: the file cannot be read, or a line of it is no example: which, and why.
    """
    file = Path(path)
    if file.suffix not in _FORMATS:
        raise ConfigurationError(f"examples are read from files that end in {', '.join(_FORMATS)}, not from {str(file)!r}")
    found, unlabelled = Examples(), 0
    try:
        for line, row in (_csv if file.suffix == ".csv" else _json_lines)(file):
            where = f"{file}, line {line}"
            if missing := [name for name in _NEEDED if name not in row]:
                raise ConfigurationError(f"{where}: there is no {' and no '.join(missing)}; it has {', '.join(map(str, row)) or 'nothing'}")
            if row["quality"] in (None, ""):
                unlabelled += 1
                continue
            found.append(_example(row, where))
    except OSError as error:
        raise ConfigurationError(f"cannot read examples from {file}: {error.strerror or type(error).__name__}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file} is not UTF-8: byte {error.start} is {error.object[error.start]:#x}") from None
    if unlabelled:
        found.skipped = {"no quality": unlabelled}
    return found


def _example(row: Mapping[str, Any], where: str) -> Example:
    for name in ("prompt", "model"):
        if row[name] in (None, ""):
            raise ConfigurationError(f"{where}: the {name} is empty")
    try:
        quality = float(row["quality"])
    except (TypeError, ValueError):
        raise ConfigurationError(f"{where}: quality must be a number within 0..1, not {row['quality']!r:.80}") from None
    latency = _latency(row.get("latency_seconds"), where)
    optional = {name: row.get(name) or None for name in _OPTIONAL}
    example = Example(row["prompt"], row["model"], quality, **optional, latency_seconds=latency)
    try:
        checked([example])
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {str(error).replace('example 0', 'the example')}") from None
    return example


def _latency(given: Any, where: str) -> float | None:
    if given in (None, ""):
        return None
    try:
        latency = float(given)
    except (TypeError, ValueError):
        latency = math.nan
    if not 0 <= latency < math.inf:
        raise ConfigurationError(f"{where}: latency_seconds must be a number of seconds, 0 or more, not {given!r:.80}")
    return latency


def _csv(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        reader = csv.DictReader(opened, strict=True)
        try:
            for row in reader:
                if None in row:
                    raise ConfigurationError(f"{file}, line {reader.line_num}: there are more values than columns in the header")
                yield reader.line_num, row
        except csv.Error as error:
            raise ConfigurationError(
                f"{file}, after line {reader.line_num}: {error}; prompts of any length can be given as JSON lines"
            ) from None


def _json_lines(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with file.open(encoding="utf-8-sig") as opened:
        for number, line in enumerate(opened, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ConfigurationError(f"{file}, line {number}: not JSON: {error}") from None
            if not isinstance(row, dict):
                raise ConfigurationError(f"{file}, line {number}: a JSON object is needed, not {line.strip()!r:.80}")
            yield number, row
