"""`CostNode`: the cost tree of a run, built from rows and the paths that they keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from llmthrift_core.ledger import paths
from llmthrift_core.ledger.paths import Step
from llmthrift_core.money import to_usd

Row = Mapping[str, Any]

_CALLS: Final = frozenset({"call", "hit"})


@dataclass(frozen=True, slots=True)
class CostNode:
    """A run, something inside it, or a single call.

    Attributes:
        name: of an agent, a chain or a tool as the framework calls it, of a call its model, of another cost its kind.
        kind: "run", "agent", "chain", "tool", "retriever", "call", "hit" (an answer from a cache) or "cost" (no model call).
        within: names of chains around it that hold nothing else.
        request_id: of a call or another cost; None for the rest.
        note: what a call was beside the first attempt: "retry", "fallback", "escalation", an error, or "".
        cost_usd: of all priced model calls in it.
        other_cost_usd: of what is no model call.
        calls: model attempts and cache hits in it.
        unpriced: calls without a price, which no amount includes.
        input_tokens, output_tokens: billed.
        at_us: when it began, in microseconds since the epoch.
        children: in the order in which they began.
    """

    name: str
    kind: str
    within: tuple[str, ...] = ()
    request_id: str | None = None
    note: str = ""
    cost_usd: Decimal = Decimal(0)
    other_cost_usd: Decimal = Decimal(0)
    calls: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    at_us: int = 0
    children: tuple[CostNode, ...] = ()

    @property
    def total_usd(self) -> Decimal:
        """Model calls and other costs together."""
        return self.cost_usd + self.other_cost_usd

    @property
    def label(self) -> str:
        """The name for people: with the chains around it, its kind where the name does not tell it, and the note."""
        text = " / ".join((*self.within, self.name))
        told = ", ".join(word for word in ("" if self.kind in ("call", "chain", "run", "cost") else self.kind, self.note) if word)
        return f"{text} ({told})" if told else text

    def walk(self, depth: int = 0) -> Iterator[tuple[int, CostNode]]:
        """This node and all below it, each with its depth."""
        waiting = [(depth, self)]
        while waiting:  # no recursion: a path may be as deep as its agent went
            level, node = waiting.pop()
            yield level, node
            waiting += [(level + 1, child) for child in reversed(node.children)]


@dataclass(slots=True)
class _Branch:
    """A node while it is built."""

    step: Step
    branches: dict[str, _Branch] = field(default_factory=dict)
    leaves: list[CostNode] = field(default_factory=list)


def tree_of(run: str, calls: Sequence[Row], costs: Sequence[Row]) -> CostNode:
    """The cost tree of the rows of one run.

    Args:
        calls: rows of `calls` in the order of their time, with later prices in place.
        costs: rows of `other_costs`.
    """
    root = _Branch(Step("", run))
    for row, leaf in _leaves(calls):
        _branch_at(root, row["path"]).leaves.append(leaf)
    for row in costs:
        _branch_at(root, row["path"]).leaves.append(_cost_leaf(row))
    if not root.leaves and len(root.branches) == 1:
        (outermost,) = root.branches.values()
        if run.endswith(outermost.step.id):  # the run was not named: it is its outermost run
            root = outermost
    return _node(root, is_root=True)


def _leaves(calls: Sequence[Row]) -> Iterator[tuple[Row, CostNode]]:
    """The rows that stand at a path, each with the calls below it.

    A program that knows no framework's path may name another call as the parent. Only an earlier row is one, so that there is no circle.
    """
    places = {row["run_id"]: place for place, row in reversed(list(enumerate(calls))) if row["run_id"] is not None}
    below: dict[int, list[CostNode]] = {}
    found: list[tuple[Row, CostNode]] = []
    for place in range(len(calls) - 1, -1, -1):  # children come after their parents
        row = calls[place]
        leaf = _call_leaf(row)
        if place in below:
            leaf = _with_sums(leaf, tuple(reversed(below[place])))
        parent = places.get(row["parent_id"]) if row["path"] is None and row["parent_id"] is not None else None
        if parent is not None and parent < place:
            below.setdefault(parent, []).append(leaf)
        else:
            found.append((row, leaf))
    return reversed(found)


def _branch_at(root: _Branch, path: str | None) -> _Branch:
    branch = root
    for step in paths.from_text(path):
        if (deeper := branch.branches.get(step.id)) is None:
            deeper = branch.branches[step.id] = _Branch(step)
        branch = deeper
    return branch


def _node(branch: _Branch, *, is_root: bool = False) -> CostNode:
    children = [*(_node(each) for each in branch.branches.values()), *branch.leaves]
    children.sort(key=lambda child: (child.at_us, child.request_id or ""))
    step = branch.step
    if len(children) == 1 and not is_root and step.kind == "chain":
        only = children[0]
        within = (step.name, *only.within) if only.kind in _CALLS or only.kind == "cost" else only.within
        return replace(only, within=within)
    return _sum(step.name, "run" if is_root else step.kind, children)


def _sum(name: str, kind: str, children: Sequence[CostNode]) -> CostNode:
    return _with_sums(CostNode(name, kind, at_us=min((child.at_us for child in children), default=0)), tuple(children))


def _with_sums(node: CostNode, children: tuple[CostNode, ...]) -> CostNode:
    sums = {name: sum((getattr(child, name) for child in children), getattr(node, name)) for name in _SUMMED}
    return replace(node, **sums, children=children)


def _call_leaf(row: Row) -> CostNode:
    cost = row["cost_nano_usd"]
    notes = [row["attempt_reason"] or "", "rejected" if row["escalated"] else "", row["error"] or ""]
    return CostNode(
        row["model"],
        "call" if row["cache"] is None else "hit",
        request_id=row["request_id"],
        note=", ".join(note for note in notes if note),
        cost_usd=to_usd(cost or 0),
        calls=1,
        unpriced=int(cost is None),
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        at_us=row["at_us"],
    )


def _cost_leaf(row: Row) -> CostNode:
    return CostNode(row["kind"], "cost", request_id=row["request_id"], other_cost_usd=to_usd(row["cost_nano_usd"]), at_us=row["at_us"])


_SUMMED: Final = ("cost_usd", "other_cost_usd", "calls", "unpriced", "input_tokens", "output_tokens")
