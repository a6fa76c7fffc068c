"""Checks of an answer, which need no model."""

from __future__ import annotations

from typing import Final

from llmthrift_core.routing.checks.check import Check, CheckList
from llmthrift_core.routing.checks.form import (
    conclusion,
    ending,
    hedging,
    length,
    refusal,
    relevance,
    repetition,
    requested_form,
    second_thoughts,
)
from llmthrift_core.routing.checks.numbers import arithmetic, final_number, number_use, steps

BUILT_IN: Final[tuple[Check, ...]] = (
    length,
    refusal,
    hedging,
    second_thoughts,
    ending,
    repetition,
    conclusion,
    requested_form,
    relevance,
    arithmetic,
    number_use,
    steps,
    final_number,
)

__all__ = [
    "BUILT_IN",
    "Check",
    "CheckList",
    "arithmetic",
    "conclusion",
    "ending",
    "final_number",
    "hedging",
    "length",
    "number_use",
    "refusal",
    "relevance",
    "repetition",
    "requested_form",
    "second_thoughts",
    "steps",
]
