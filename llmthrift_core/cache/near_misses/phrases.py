"""Phrases of several words that are compared as one: "per cent", "as soon as possible", "fails to", "every other"."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

# What is compared ("-": nothing), then the phrases that say it; words of a phrase are joined with "_".
_ROWS: Final = """
% per_cent; asap as_soon_as_possible; alternate every_other; noon 12_noon twelve_noon 12_midday; midnight 12_midnight twelve_midnight;
not fail_to fails_to failed_to failing_to neglect_to neglects_to neglected_to refuse_to refuses_to refused_to no_longer; only-if
only_if; even-if even_if; without free_of free_from with_no; except other_than apart_from aside_from all_but; maximum at_most
no_more_than; minimum at_least no_less_than no_fewer_than; free for_free free_of_charge at_no_cost; remove get_rid_of; responsible
in_charge_of takes_care_of take_care_of; enter type_in key_in fill_in; decline say_no_to turn_down; must have_to has_to had_to; celsius
degrees_celsius degree_celsius degrees_c; fahrenheit degrees_fahrenheit degree_fahrenheit degrees_f; - process_of concept_of notion_of
phenomenon_of; around-the-clock all_day_and_night day_and_night round_the_clock
"""


def _table() -> dict[str, tuple[tuple[tuple[str, ...], str], ...]]:
    table: dict[str, list[tuple[tuple[str, ...], str]]] = defaultdict(list)
    for row in _ROWS.split(";"):
        said, *phrases = row.split()
        for phrase in phrases:
            first, *rest = phrase.split("_")
            table[first].append((tuple(rest), said))
    return {first: tuple(sorted(found, key=lambda each: -len(each[0]))) for first, found in table.items()}


_PHRASES: Final = _table()
PHRASE_WORDS: Final = frozenset(_PHRASES)


def in_one_word(tokens: Sequence[str]) -> list[str]:
    """The tokens with each phrase as one.

    >>> in_one_word(["what", "is", "20", "per", "cent"])
    ['what', 'is', '20', '%']
    """
    result: list[str] = []
    place = 0
    while place < len(tokens):
        word = tokens[place]
        for rest, said in _PHRASES.get(word, ()):
            if tuple(tokens[place + 1 : place + 1 + len(rest)]) == rest:
                if said != "-":
                    result.append(said)
                place += len(rest)
                break
        else:
            result.append(word)
        place += 1
    return result
