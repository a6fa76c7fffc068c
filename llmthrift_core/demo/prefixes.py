"""The provider's prompt cache in the demonstration: an agent's conversation and single questions, with and without the plan."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.display import usd
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.thrift import Thrift

if TYPE_CHECKING:
    from rich.console import Console

Said = tuple[str, str]
"""A role and a text."""
Ask = Callable[[Sequence[Said]], object]
MODEL: Final = "gpt-5.6-sol"
"""A model that charges for what it writes to its cache."""
_STEPS: Final = 16
_QUESTIONS: Final = 40
_SECONDS: Final = 10.0


class _Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def show_prompt_caching(console: Console, talker: Callable[[str, Thrift, bool], Ask]) -> None:
    """Print what input costs without a cache, by the provider's own habit, and with the plan.

    Args:
        talker: from the server's URL, the ledger and whether calls are planned to a function that sends messages.
    """
    from rich.table import Table

    table = Table("input dollars", title=f"The provider's prompt cache, on {MODEL} (reads cost 0.1, writes 1.25)")
    for name in ("calls", "without a cache", "cached by the provider", "with the plan"):
        table.add_column(name, justify="right")
    for name, talks in (("an agent's conversation", list(_conversation())), ("single questions about long documents", list(_questions()))):
        alone, planned = (_spent(talker, talks, is_planned=is_planned) for is_planned in (False, True))
        shares = [f"{usd(paid)} ({float(paid / plain):.0%})" for paid, plain in (alone, planned)]
        table.add_row(name, f"{len(talks)}", usd(alone[1]), *shares)
    console.print(table)


def _spent(talker: Callable[[str, Thrift, bool], Ask], talks: Sequence[Sequence[Said]], *, is_planned: bool) -> tuple[Any, Any]:
    """What input cost, and would have cost at its plain price."""
    with _at_ten_second_steps() as (clock, provider), Thrift(":memory:", clock=clock) as thrift:
        ask = talker(provider.openai_url, thrift, is_planned)
        for said in talks:
            clock.now += _SECONDS
            ask(said)
        savings = thrift.savings()
    return savings.input_cost_usd, savings.input_cost_usd + savings.prefix_saved_usd


@contextmanager
def _at_ten_second_steps() -> Iterator[tuple[_Clock, LoopbackProvider]]:
    clock = _Clock()
    with LoopbackProvider(lambda _: "Go on.", prompt_caches=True, clock=clock) as provider:
        yield clock, provider


def _conversation() -> Iterator[list[Said]]:
    """Each step of an agent sends all before it again."""
    chance = random.Random(3)  # noqa: S311 - the same text each time
    said = [("system", _text(chance, 1_500)), ("user", "Plan the move of the warehouse.")]
    for step in range(_STEPS):
        yield list(said)
        said += [("assistant", f"Step {step}: look it up."), ("user", f"The tool says: {_text(chance, 300)}")]


def _questions() -> Iterator[list[Said]]:
    """Nothing of these comes again."""
    chance = random.Random(4)  # noqa: S311 - the same text each time
    for number in range(_QUESTIONS):
        yield [("user", f"Question {number}: what follows from this? {_text(chance, 8_000)}")]


def _text(chance: random.Random, words: int) -> str:
    return " ".join("".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=5)) for _ in range(words))
