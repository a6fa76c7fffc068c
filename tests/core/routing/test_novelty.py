"""How careful to be with texts that may be of a new task is learned from call sites that were left out."""

from __future__ import annotations

import random

import numpy as np
import pytest

from llmthrift_core.routing import Example, LearnedRouter
from llmthrift_core.routing.learned.calibration import LeftOut, caution_for, cautious, chosen
from llmthrift_core.routing.learned.quality_model import one_thread

PRICES = {"weak": 0.6, "strong": 12.0}
TASKS = {
    "translate": "Translate the sentence about {} into {}",
    "summary": "Summarise this note on {} for {} in one line:",
    "label": "Is the ticket about {} from {} urgent? yes/no",
    "mail": "Dear team, please answer the customer who wrote about {} and {}.",
    "extract": 'Extract {{"name": ..., "city": ...}} from <doc>{} {}</doc>',
}
WORDS = ("parcels", "invoices", "gardens", "engines", "museums", "bridges", "violins", "harvests", "glaciers", "lanterns")


def traffic(tasks: tuple[str, ...], count: int, weak: float, *, seed: int = 0) -> list[Example]:
    """Answers at some call sites; the strong model's are always good, so many of the weak one's are."""
    chance = random.Random(seed)
    examples = []
    for number in range(count):
        site = tasks[number % len(tasks)]
        prompt = f"{TASKS[site].format(chance.choice(WORDS), chance.choice(WORDS))} ({number})"
        examples += [
            Example(prompt, "weak", float(chance.random() < weak), call_site=site),
            Example(prompt, "strong", 1.0, call_site=site),
        ]
    return examples


def test_doubt_takes_nothing_off_what_is_clearly_known_or_the_reference() -> None:
    expected = np.full((4, 3), 0.9)
    found = cautious(expected, np.array([1.2, 1.0, 0.5, -3.0]), 0.1, reference=2)
    assert found[:, 0] == pytest.approx([0.9, 0.9, 0.8, 0.9 - 0.1 * 19])
    assert (found[:, 0] == found[:, 1]).all()
    assert (found[:, 2] == 0.9).all()


def test_left_out_estimates_have_not_seen_the_call_site() -> None:
    chance = np.random.default_rng(0)
    sites = np.repeat(["a", "b", "c"], 40)
    vectors = chance.normal(size=(120, 8)) + np.repeat(np.eye(3, 8) * 3, 40, axis=0)
    quality = chance.random((120, 2)).round()
    changed = quality.copy()
    changed[sites == "b"] = 1 - changed[sites == "b"]
    with one_thread():
        before, after = (LeftOut.of(vectors, list(sites), ("a", "b", "c"), labels, 1) for labels in (quality, changed))
    assert before.expected[sites == "b"] == pytest.approx(after.expected[sites == "b"])
    assert not np.allclose(before.expected[sites == "a"], after.expected[sites == "a"])
    assert (before.familiarity == after.familiarity).all()


def test_the_caution_is_as_high_as_left_out_tasks_need() -> None:
    rows = 2_000
    chance = np.random.default_rng(1)
    known = np.tile([0.99, 1.0], (rows, 1))
    observed = (chance.random((rows, 2)) < known).astype(float)
    cost = np.tile([0.05, 1.05], (rows, 1))
    familiar, strange = chance.uniform(0.8, 1.0, rows), chance.uniform(0.3, 0.5, rows)
    trusted = LeftOut(known, strange)
    assert caution_for(trusted, known, familiar, observed, cost, 1, 0.98)[0] == 0.0
    wrong = np.stack([chance.random(rows) < 0.5, np.ones(rows)], axis=1).astype(float)
    half = rows // 2  # labels of one half of the rows are as on known tasks, of the other as on new ones
    mixed = np.concatenate([observed[:half], wrong[half:]])
    caution, weight = caution_for(trusted, known, familiar, mixed, cost, 1, 0.7)
    assert caution > 0
    assert weight is not None
    assert (chosen(cautious(known, strange, caution, 1), cost, weight) == 1).mean() > 0.9


def test_a_text_of_a_new_task_goes_to_the_default_model_and_known_ones_do_not() -> None:
    known = ("translate", "summary", "label", "mail")
    examples = traffic(("translate", "summary"), 160, weak=0.98) + traffic(("label", "mail"), 160, weak=0.2, seed=1)
    router = LearnedRouter(PRICES, "strong", 0.95).fit(examples)
    cheap = {
        task: sum(router.decide(each.prompt).model == "weak" for each in traffic((task,), 40, 1.0, seed=2)[::2])
        for task in (*known, "extract")
    }
    assert cheap["translate"] >= 30
    assert cheap["summary"] >= 30
    assert cheap["extract"] <= 4
    strange = router.decide(traffic(("extract",), 1, 1.0)[0].prompt)
    assert strange.model == "strong"
    restored = LearnedRouter.from_bytes(router.to_bytes())
    assert restored.version == router.version
    assert all(restored.decide(each.prompt) == router.decide(each.prompt) for each in traffic((*known, "extract"), 40, 1.0, seed=3))
