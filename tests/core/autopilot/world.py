"""Traffic of doors that follow a configuration, written into a ledger in bulk: what they do is looked up as doors look it up."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from llmthrift_core import Thrift
from llmthrift_core.attribution import Attribution
from llmthrift_core.storage.statements import RowsInsert
from llmthrift_core.storage.tables import calls, feedback
from llmthrift_core.versions.door_settings import DoorSettings
from tests.core.clock import Clock

DAY = 86_400.0
MODELS = {"small": ("gpt-4o-mini", 150, 600), "large": ("gpt-4o", 2_500, 10_000)}  # nano-USD a token of input and of output


def _as_new(insert: Any) -> Any:
    return insert.on_conflict_do_nothing(index_elements=["id"])


_WRITTEN = {
    "request_id", "call_id", "at_us", "model", "provider", "tier", "user", "tags", "input_tokens", "output_tokens", "cost_nano_usd",
    "input_cost_nano_usd", "output_cost_nano_usd", "prompt_hash", "prompt_chars", "prefix_plan",
}  # fmt: skip
_CALLS = RowsInsert(calls, [column.name for column in calls.c if column.name in _WRITTEN], _as_new)
_FEEDBACK = RowsInsert(feedback, ("request_id", "at_us", "quality", "source"), _as_new)
Quality = Callable[[DoorSettings], float]


def equal(settings: DoorSettings) -> float:
    """The same quality, whatever is set."""
    return 0.9


def weak_when_small(settings: DoorSettings) -> float:
    """Answers of the small model are worse."""
    return 0.7 if settings.max_tier == "small" else 0.9


@dataclass
class World:
    """An application whose door is called again and again.

    Attributes:
        input_tokens: of a call.
        judges: what is said of an answer's quality, by source.
    """

    thrift: Thrift
    clock: Clock
    name: str = "support"
    rng: random.Random = field(default_factory=lambda: random.Random(7))
    users: int = 300
    questions: int = 60
    input_tokens: int = 500
    judges: dict[str | None, Callable[[float], float]] = field(default_factory=lambda: {"judge:a": lambda quality: quality})

    def __post_init__(self) -> None:
        self.tuning = self.thrift.configurations.follow(self.name, check_seconds=86_400)
        self.number = 0

    def pass_days(self, days: float, per_day: int = 200, *, quality: Quality = equal, judged: float = 1.0, spread: float = 0.06) -> None:
        """Time goes by, with so many calls a day."""
        self.tuning.look()
        count, begin = round(days * per_day), self.clock.now
        rows: list[dict[str, Any]] = []
        said: list[dict[str, Any]] = []
        for number in range(count):
            at_us = round((begin + days * DAY * (number + 0.5) / count) * 1e6)
            user = f"user {self.rng.randrange(self.users)}"
            question = f"{self.rng.randrange(self.questions):x}"
            settings, who = self.tuning.for_call(Attribution(user=user), partial(str, question))
            self.number += 1
            request_id = f"{self.name} {self.number}"
            rows.append(self._row(request_id, at_us, user, dict(who.tags), settings, question))
            if self.rng.random() < judged:
                score = min(1.0, max(0.0, self.rng.gauss(quality(settings), spread)))
                said += [
                    {"request_id": request_id, "at_us": at_us, "quality": round(1e6 * judge(score)), "source": source}
                    for source, judge in self.judges.items()
                ]
        with self.thrift.database.transaction() as transaction:
            transaction.insert(_CALLS, [[row.get(name) for name in _CALLS.columns] for row in rows])
            transaction.insert(_FEEDBACK, [[row[name] for name in _FEEDBACK.columns] for row in said])
        self.clock.now = begin + days * DAY

    def _row(self, request_id: str, at_us: int, user: str, tags: dict[str, str], settings: DoorSettings, question: str) -> dict[str, Any]:
        tier = settings.max_tier or ("small" if self.rng.random() < 0.3 else "large")
        model, input_price, output_price = MODELS[tier]
        sent, made = self.input_tokens, round(self.rng.lognormvariate(5, 0.6))
        if settings.output_cap_tokens is not None:
            made = min(made, settings.output_cap_tokens)
        read = 0.4 if settings.prompt_caching else 1.0  # most of it at a tenth
        return {
            "request_id": request_id,
            "call_id": request_id,
            "at_us": at_us,
            "model": model,
            "provider": "openai",
            "tier": tier,
            "user": user,
            "tags": json.dumps(tags, sort_keys=True, separators=(",", ":")) if tags else "",
            "input_tokens": sent,
            "output_tokens": made,
            "cost_nano_usd": round(sent * input_price * read) + made * output_price,
            "input_cost_nano_usd": round(sent * input_price * read),
            "prefix_plan": "1,800 tokens" if settings.prompt_caching else None,
            "output_cost_nano_usd": made * output_price,
            "prompt_hash": question,
            "prompt_chars": 2_000,
        }
