"""What of a request may be written: known prefixes that are not kept any more, what is new, and its last block."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, NamedTuple

from llmthrift_core.prompt_caching.prefix_tree import Node
from llmthrift_core.prompt_caching.reuse import size_class

_MOST_TURNS: Final = 9
_PRIOR_SHARE: Final = 0.35
_PRIOR_RUNS: Final = 2.0


class Candidate(NamedTuple):
    """A run of blocks that may be written if all before it are.

    Attributes:
        node: where it is known; None for a new one.
        blocks: of a new one.
        tokens: of the run.
        kind, circumstances, siblings: see `ReuseModel`.
        origin: the node behind which a new one begins.
    """

    node: Node | None
    blocks: tuple[Hashable, ...]
    tokens: int
    kind: str
    circumstances: tuple[Hashable, ...]
    siblings: float
    origin: Node | None


def candidates_of(
    path: list[Node],
    kept: int,
    ids: tuple[Hashable, ...],
    tokens: tuple[int, ...],
    matched: int,
    now: float,
    site: str | None,
    root: Node,
) -> list[Candidate]:
    """All runs behind what is kept, in order."""
    found = []
    at = sum(len(node.blocks) for node in path[:kept])
    for node in path[kept:]:
        uses, pause, fan = min(node.uses, 6), size_class(now - node.last_seconds), min(len(node.children), 3)
        size = sum(tokens[at : at + len(node.blocks)])
        at += len(node.blocks)
        keys: tuple[Hashable, ...] = (
            "known",
            ("uses", uses),
            ("uses fan", uses, fan),
            ("pause", pause),
            ("uses pause", uses, pause),
            ("size fan", size_class(size), fan),
        )
        if site is not None:
            keys += (("known site", site), ("known site", site, uses))
        found.append(Candidate(node, (), size, "known", keys, _share(node), None))
    if matched < len(ids):
        found += _new(path, ids, tokens, matched, now, site, root)
    return found


def _new(
    path: list[Node], ids: tuple[Hashable, ...], tokens: tuple[int, ...], matched: int, now: float, site: str | None, root: Node
) -> list[Candidate]:
    origin = path[-1] if path else root
    turn, fan = min(len(path), _MOST_TURNS), min(len(origin.children), 3)
    pause = size_class(now - origin.last_seconds) if path else -1
    fresh, last = sum(tokens[matched:]), tokens[-1]
    total, size = size_class(sum(tokens), 2), size_class(fresh, 2)
    siblings = _share(origin)
    runs = min(4, size_class(origin.tried))
    sixth = int(siblings * 6)
    # A last block of another size than the one before it is a part of a block, where blocks are of equal size.
    evenness = 0 if len(tokens) > 1 and last == tokens[-2] else 1
    found = []
    for kind in ("new", "last") if len(ids) - matched > 1 else ("last",):
        keys: tuple[Hashable, ...] = (
            kind,
            (kind, "turn fan", turn, fan),
            (kind, "turn total", turn, total),
            (kind, "turn size", turn, size),
            (kind, "turn pause", min(turn, 3), pause),
            (kind, "size total", size, total),
            (kind, "siblings", runs, sixth, min(turn, 3)),
            (kind, "inner", size_class(fresh - last, 2) if kind == "new" else evenness, fan),
        )
        if site is not None:
            keys += ((kind, "site", site), (kind, "site turn", site, turn))
        blocks = ids[matched:-1] if kind == "new" else ids[max(matched, len(ids) - 1) :]
        found.append(Candidate(None, blocks, fresh - last if kind == "new" else last, kind, keys, siblings, origin if path else None))
    return found


def _share(node: Node) -> float:
    """The share that came back of what began behind a node."""
    return (node.returned + _PRIOR_SHARE * _PRIOR_RUNS) / (node.tried + _PRIOR_RUNS)
