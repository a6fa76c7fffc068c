"""Checks of an answer: those that a cascade weighs and learns from, and verifiers, which decide by themselves and may ask a model."""

from __future__ import annotations

from typing import Final

from llmthrift_core.routing.checks.check import Check, CheckList, Finding, Verifier
from llmthrift_core.routing.checks.consistency import ConsistencyCheck, agreement_of
from llmthrift_core.routing.checks.form import (
    conclusion,
    ending,
    hedging,
    length,
    log_probabilities,
    refusal,
    relevance,
    repetition,
    requested_form,
    second_thoughts,
)
from llmthrift_core.routing.checks.judging import JudgeCheck
from llmthrift_core.routing.checks.numbers import arithmetic, final_number, number_use, steps
from llmthrift_core.routing.checks.structure import StructureCheck

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
    log_probabilities,
)
"""None of them asks a model. Log-probabilities that are not there count neither for an answer nor against it."""

__all__ = [
    "BUILT_IN",
    "Check",
    "CheckList",
    "ConsistencyCheck",
    "Finding",
    "JudgeCheck",
    "StructureCheck",
    "Verifier",
    "agreement_of",
    "arithmetic",
    "conclusion",
    "ending",
    "final_number",
    "hedging",
    "length",
    "log_probabilities",
    "number_use",
    "refusal",
    "relevance",
    "repetition",
    "requested_form",
    "second_thoughts",
    "steps",
]
