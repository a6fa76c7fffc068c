"""What changes in a system prompt and stands before what stays: found by comparing, in any language."""

from __future__ import annotations

import pytest

from llmthrift_core.prompt_caching.static_first import StaticFirst

RULES = "".join(f"Rule {number}: answer from page {number * 7} of the manual.\n" for number in range(120))
REGELN = "".join(f"Regel {number}: Antworte nach Seite {number * 7} des Handbuchs.\n" for number in range(120))


@pytest.mark.parametrize(
    ("first", "second", "rules"),
    [
        ("Today is Monday. ", "Today is Tuesday. ", RULES),
        ("Guten Tag, Frau Adler!\n", "Guten Tag, Herr Baum!\n", REGELN),
        ("", "1753\n", RULES),
    ],
)
def test_a_change_at_the_front_is_found_and_goes_last(first: str, second: str, rules: str) -> None:
    look = StaticFirst().look
    assert look("desk", first + rules) is None
    found = look("desk", second + rules)
    assert found is not None
    assert (found.at_chars, found.stays, found.changes) == (0, rules.rstrip(), second.strip())
    assert found.behind_chars == len(rules)


def test_it_is_told_once_and_only_when_it_happens_again() -> None:
    look = StaticFirst().look
    told = [found.is_told for day in ("Mo", "Tu", "We", "Th", "Fr") if (found := look("desk", f"Today is {day}. {RULES}")) is not None]
    assert told == [False, True, False, False]


def test_what_stays_in_front_is_in_order_and_so_is_another_prompt() -> None:
    look = StaticFirst().look
    assert look("desk", RULES + "Today is Monday.") is None
    assert look("desk", RULES + "Today is Tuesday.") is None
    assert look("desk", REGELN) is None  # a new version of the application
    assert look("other", "Today is Monday. " + RULES) is None
    assert look("other", "Short.") is None
    assert look("other", "") is None


def test_the_reordered_prompt_begins_alike_each_time() -> None:
    look = StaticFirst().look
    look("desk", "Today is Mo. " + RULES)
    texts = [found.stays for day in ("Tu", "We", "Th") if (found := look("desk", f"Today is {day}. {RULES}")) is not None]
    assert set(texts) == {RULES.rstrip()}


def test_many_call_sites_take_no_more_room() -> None:
    static = StaticFirst()
    for number in range(3_000):
        static.look(str(number), "Today. " + RULES[:200])
    assert len(static._seen) <= 1_000
