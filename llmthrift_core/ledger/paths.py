"""The way from a run's beginning to a call: the agents, chains and tools around it, outermost first, as a row keeps it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple, get_args

from llmthrift_core.attribution import EMPTY, Attribution

Kind = Literal["chain", "agent", "tool", "retriever"]

_KINDS: Final = frozenset(get_args(Kind))
_MOST_STEPS: Final = 24
_ID_CHARACTERS: Final = 12  # 48 random bits of a UUID: enough to tell the steps of one run apart
_MOST_NAME: Final = 80


class Step(NamedTuple):
    """One run around a call.

    Attributes:
        id: tells it from other runs of the same name; the end of the framework's id.
        name: as the framework calls it.
        kind: a chain where nothing more is known: graphs, their nodes, query engines, workflow steps.
    """

    id: str
    name: str
    kind: Kind = "chain"


class Surroundings(NamedTuple):
    """Where code runs: the outermost run, the path down to the innermost, and for whom, as the framework's own run metadata says."""

    trace_id: str
    path: str | None
    attribution: Attribution = EMPTY


def step(run_id: object, name: object, kind: Kind = "chain") -> Step:
    """A step from what a framework gives.

    >>> step("FunctionAgent.run-bf1cc540-19f0-4101-90b5-ae9b9f78e0a6", "clerk", "agent")
    Step(id='ae9b9f78e0a6', name='clerk', kind='agent')
    """
    return Step(str(run_id)[-_ID_CHARACTERS:], str(name)[:_MOST_NAME] if name else kind, kind)


def to_text(steps: Iterable[Step]) -> str | None:
    """The path as it is stored: a JSON list of [id, name] or [id, name, kind], at most 24 of them. None without steps.

    >>> to_text([Step("1", "clerk", "agent"), Step("2", "model")])
    '[["1","clerk","agent"],["2","model"]]'
    """
    listed = [(each.id, each.name) if each.kind == "chain" else tuple(each) for each in steps]
    if len(listed) > _MOST_STEPS:  # the outermost, and those next to the call
        listed = [listed[0], *listed[1 - _MOST_STEPS :]]
    return json.dumps(listed, separators=(",", ":")) if listed else None


def from_text(text: str | None) -> tuple[Step, ...]:
    """The path of a row; empty where it is unknown or cannot be read."""
    if not text:
        return ()
    try:
        found = [Step(*map(str, each)) for each in json.loads(text)]  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return ()
    return tuple(each if each.kind in _KINDS else each._replace(kind="chain") for each in found)


_lookups: Final[list[Callable[[], Surroundings | None]]] = []


def add_lookup(lookup: Callable[[], Surroundings | None]) -> None:
    """From now on, ask a framework's adapter too where code runs."""
    if lookup not in _lookups:
        _lookups.append(lookup)


def surroundings() -> Surroundings | None:
    """The open runs of a framework around this code, where an adapter follows them."""
    for lookup in _lookups:
        if (found := lookup()) is not None:
            return found
    return None
