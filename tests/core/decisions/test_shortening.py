"""Shorter prompts on recorded traffic: dollars after the provider's cache, answers that are still there, quality by a judge."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from llmthrift_core import Thrift
from llmthrift_core.decisions import SentPrompt, simulate_shortening
from llmthrift_core.decisions.kept_values import values_left
from llmthrift_core.decisions.shortening import prompts_of_ledger, prompts_of_lines
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger.sent import read_sent
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.prompt_caching import CacheTerms
from llmthrift_core.prompts import Shorten, steps
from llmthrift_core.prompts.counting import tokens_of_messages, tokens_of_reply

MODEL = "claude-sonnet-4-5"
TERMS = CacheTerms(write=1.25, read=0.1, ttl_seconds=300, min_tokens=1024)
SYSTEM = {"role": "system", "content": "Answer from the documents.   \n\n\n\n" * 300}
PRICES = PriceCatalog()


def turn(number: int) -> list[dict[str, Any]]:
    said = [
        message
        for each in range(number)
        for message in ({"role": "user", "content": f"Where is parcel {each}?"}, {"role": "assistant", "content": f"In hall {each}."})
    ]
    return [SYSTEM, *said, {"role": "user", "content": f"Where is parcel {number}?"}]


def simulate(sent: list[SentPrompt], shorten: Shorten | None = None, **options: Any) -> Any:
    return simulate_shortening(sent, shorten or Shorten.lossless(), PRICES, terms=lambda model, provider: TERMS, **options)


def test_dollars_are_those_of_the_replayed_cache() -> None:
    found = simulate([SentPrompt(turn(number), MODEL, 10.0 * number, call_site="desk", caches=True) for number in range(3)])
    primed = tokens_of_reply(MODEL)  # which nobody keeps
    sizes = [tokens_of_messages(turn(number), MODEL) - primed for number in range(3)]
    price = Decimal(3) / 1_000_000
    first = Decimal("1.25") * sizes[0] + primed
    # All of the last prompt comes again in the next: it is read, and what is new is written.
    later = [Decimal("0.1") * sizes[at - 1] + Decimal("1.25") * (sizes[at] - sizes[at - 1]) + primed for at in (1, 2)]
    assert found.total["usd"] == price * (first + sum(later))
    assert found.total["tokens_shorter"] < 0.75 * found.total["tokens"]
    assert 0 < found.saved_usd < found.total["usd"]
    assert (found.rows[0]["call_site"], found.total["dearer"]) == ("desk", 0)


def test_a_broken_prefix_shows_as_dearer_calls() -> None:
    talks = [[{"role": "user", "content": f"{each} " * 200} for each in range(number)] for number in range(6, 12)]
    sent = [SentPrompt(talk, MODEL, 10.0 * len(talk), caches=True) for talk in talks]
    broken = simulate(sent, Shorten([steps.History(max_turns=5)]))
    assert broken.total["tokens_shorter"] < broken.total["tokens"]
    assert broken.saved_usd < 0 < broken.total["dearer"]


def test_without_a_cache_tokens_are_dollars() -> None:
    found = simulate([SentPrompt(turn(1), MODEL, 0.0, caches=False)])
    assert found.total["usd"] == Decimal(found.total["tokens"]) * 3 / 1_000_000


def test_answers_that_are_known() -> None:
    text = "The bridge was built in 1911. " + "Bakers sell bread in the old street on weekdays. " * 12
    sent = [SentPrompt(f"{text}\n\nQuestion: When was the bridge built?", MODEL, 0.0, answer="1911")]
    kept = simulate(sent, Shorten([steps.Sentences(share=0.2, embedder=False)]))
    lost = simulate(sent, Shorten([steps.Truncate(30, keep="end")]))
    assert (kept.answers_kept.estimate, lost.answers_kept.estimate) == (1.0, 0.0)
    assert simulate([SentPrompt("Why?", MODEL, answer="Nobody knows.")]).answers_kept is None


@pytest.mark.parametrize(
    ("answer", "after", "expected"),
    [
        ("1911", "built in 1911", True),
        ("1911", "built in 19110", False),
        ("It took $20,000 and A_7.", "20000 and A_7", True),
        ("It took $20,000 and A_7.", "20000", False),
        ("桥梁", "这座桥梁是红色的", True),
        ("Something else entirely", "", None),
    ],
)
def test_values(answer: str, after: str, expected: bool | None) -> None:
    assert values_left(answer, "It was built in 1911 for 20,000 by A_7. 这座桥梁是红色的", after) is expected


@dataclass
class Verdict:
    quality: float


def test_a_judge_compares_answers_to_both() -> None:
    sent = [SentPrompt(turn(number), MODEL, float(number), answer="In hall 3.") for number in range(30)]
    same = simulate(sent, ask=lambda prompt: "In hall 3.", judge=lambda question, answer: Verdict(0.9), sample=20)
    assert (same.is_non_inferior, same.judged) == (True, 20)
    worse = simulate(sent, ask=lambda prompt: "No idea.", judge=lambda question, answer: Verdict(0.9 if "hall" in answer else 0.2))
    assert worse.is_non_inferior is False
    assert "may be inferior" in str(worse)
    broken = simulate(sent, ask=lambda prompt: 1 / 0, judge=lambda question, answer: Verdict(1.0), sample=5)
    assert (broken.judged, broken.failures["judge"], broken.is_non_inferior) == (0, 5, False)
    with pytest.raises(ConfigurationError, match="belong together"):
        simulate(sent, ask=str)


def test_lines_of_a_file() -> None:
    (one,) = prompts_of_lines([json.dumps({"messages": turn(1), "model": MODEL, "at": 3, "answer": 42}), ""])
    assert (one.model, one.at, one.answer) == (MODEL, 3.0, "42")
    for wrong in ("{", "[]", '{"messages": []}'):
        with pytest.raises(ConfigurationError, match="line 1"):
            prompts_of_lines([wrong])


def test_stored_prompts_of_a_ledger() -> None:
    with Thrift(":memory:", capture="text") as thrift, thrift.database.read() as connection:
        assert read_sent(connection, with_text=True, limit=10) == []
    assert "capture" in str(simulate(prompts_of_ledger([])))
