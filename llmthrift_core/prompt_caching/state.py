"""A planner's state as bytes: what it learned, and the prefixes that it knows. Questions that still wait for an answer are not kept."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompt_caching.prefix_tree import NEVER, Node, PrefixTree
from llmthrift_core.prompt_caching.unread import UnreadWrites
from llmthrift_core.prompt_caching.waiting import Pauses, Waiting

if TYPE_CHECKING:
    from llmthrift_core.prompt_caching.reuse import ReuseModel
    from llmthrift_core.prompt_caching.terms import CacheTerms

_FORMAT: Final = "llmthrift prefix planner 1"
_AT_ONCE: Final = 64  # nodes, while plans wait


class Stateful(Protocol):
    """The parts of a planner that are kept."""

    terms: tuple[CacheTerms, ...]
    _tree: PrefixTree
    _waiting: Waiting
    _unread: UnreadWrites
    _models: list[ReuseModel]
    _longest: float
    _now: float
    _shift: float
    _balance: float
    _sent: float


def collected(planner: Stateful, most_blocks: int | None = None) -> dict[str, Any]:
    """What is kept of a planner, whose lock is held.

    Args:
        most_blocks: of the prefixes that were used last, about so many blocks; None: of all that are known.
    """
    pauses = planner._waiting.pauses
    return {
        "format": _FORMAT,
        "terms": _names(planner),
        "now": planner._now - planner._shift if math.isfinite(planner._now) else None,
        "balance": planner._balance,
        "sent": planner._sent,
        "pauses": {"counts": list(pauses.counts), "events": pauses.events},
        "models": [_model(model) for model in planner._models],
        "nodes": list(_nodes(planner._tree, planner._shift, most_blocks)),
    }


def packed(state: dict[str, Any]) -> bytes:
    """A collected state as bytes."""
    return zlib.compress(json.dumps(state, separators=(",", ":")).encode(), 1)


def unpacked(data: bytes, planner: Stateful) -> dict[str, Any]:
    """A state out of bytes.

    Raises:
        ConfigurationError: bytes that are no state, or a state of other terms.
    """
    try:
        state: dict[str, Any] = json.loads(zlib.decompress(data))
        is_ours = state["format"] == _FORMAT
    except (TypeError, ValueError, KeyError, zlib.error):
        is_ours = False
    if not is_ours:
        raise ConfigurationError("These bytes are no state of a PrefixPlanner: give what its dump() returned")
    if state["terms"] != _names(planner):
        raise ConfigurationError(
            f"The state is one of terms {state['terms']}, the planner's are {_names(planner)}: learn anew for other terms"
        )
    return state


def taking(planner: Stateful, state: dict[str, Any], *, replace: bool) -> Iterator[None]:
    """Take a state into a planner, step by step: its lock is held in each step, and need not be between them."""
    if replace:
        planner._tree = PrefixTree(max_blocks=planner._tree.max_blocks)
        planner._waiting, planner._unread = Waiting(Pauses(planner._longest)), UnreadWrites()
        for model in planner._models:
            model.means, model.weights = {}, {}
        planner._balance, planner._sent = state["balance"], state["sent"]
        planner._now, planner._shift = (NEVER if state["now"] is None else float(state["now"])), 0.0
    _merge_pauses(planner._waiting.pauses, state["pauses"], replace=replace)
    for model, kept in zip(planner._models, state["models"], strict=True):
        model.merge(
            {_key(key): list(mean) for key, mean in kept["means"]},
            {(kind, count): list(weights) for kind, count, weights in kept["weights"]},
        )
    yield
    yield from _merge_nodes(planner._tree, state["nodes"], planner._shift)
    while planner._tree.forget():
        yield


def _names(planner: Stateful) -> list[list[float]]:
    return [[terms.write, terms.read, terms.ttl_seconds, terms.min_tokens, terms.storage_per_hour] for terms in planner.terms]


def _model(model: ReuseModel) -> dict[str, Any]:
    return {
        "means": [[key, list(mean)] for key, mean in model.means.items()],
        "weights": [[kind, count, list(weights)] for (kind, count), weights in model.weights.items()],
    }


def _key(key: Any) -> Hashable:
    return tuple(_key(part) for part in key) if isinstance(key, list) else key


def _merge_pauses(mine: Pauses, kept: dict[str, Any], *, replace: bool) -> None:
    if replace or kept["events"] > mine.events:
        mine.counts, mine.events = list(kept["counts"]), kept["events"]
    mine.renew()


def _nodes(tree: PrefixTree, shift: float, most_blocks: int | None) -> Iterator[list[Any]]:
    """Nodes with the number of their parent, parents first; those with identifiers that JSON has no form for are left out."""
    root = tree.root
    kept = None if most_blocks is None or tree.blocks <= most_blocks else tree.newest(most_blocks)
    numbers = {id(root): -1}
    waiting = list(root.children.values())
    while waiting:
        node = waiting.pop()
        if kept is not None and id(node) not in kept:
            continue
        blocks = [_written(block) for block in node.blocks]
        if None in blocks:
            continue
        yield [
            numbers[id(node.parent)],
            blocks,
            node.tokens,
            node.last_seconds - shift,
            node.uses,
            None if node.live_until == NEVER else node.live_until - shift,
            node.ttl_seconds,
            node.tried,
            node.returned,
        ]
        numbers[id(node)] = len(numbers) - 1
        waiting.extend(node.children.values())


def _written(block: Hashable) -> Any:
    if isinstance(block, bytes):
        return {"hex": block.hex()}
    if isinstance(block, tuple):
        parts = [_written(part) for part in block]
        return None if None in parts else parts
    return block if isinstance(block, str | int) else None


def _read(block: Any) -> Hashable:
    if isinstance(block, dict):
        return bytes.fromhex(block["hex"])
    return tuple(_read(part) for part in block) if isinstance(block, list) else block


def _merge_nodes(tree: PrefixTree, nodes: list[list[Any]], shift: float) -> Iterator[None]:
    """Put prefixes into a tree; of those that it knows, the later use and the longer life hold. Stops after every few."""
    paths: list[tuple[tuple[Hashable, ...], tuple[int, ...], list[tuple[int, list[Any]]]]] = []
    parents = {node[0] for node in nodes}
    for number, node in enumerate(nodes):
        above: tuple[tuple[Hashable, ...], tuple[int, ...], list[tuple[int, list[Any]]]] = ((), (), []) if node[0] < 0 else paths[node[0]]
        blocks = tuple(_read(block) for block in node[1])
        share, rest = divmod(node[2], len(blocks))
        ids, tokens = above[0] + blocks, above[1] + (share,) * (len(blocks) - 1) + (share + rest,)
        paths.append((ids, tokens, [*above[2], (len(ids), node)]))
        if number in parents:
            continue
        path, matched = tree.walk(ids, tokens)
        for end, _ in paths[-1][2]:
            if end > matched:
                path.append(tree.grow(path[-1] if path else None, ids[matched:end], sum(tokens[matched:end])))
                matched = end
        _update(path, paths[-1][2], shift)
        if path:
            tree.rest(path[-1])
        if number % _AT_ONCE == 0:
            yield


def _update(path: list[Node], theirs: list[tuple[int, list[Any]]], shift: float) -> None:
    reached, index = 0, 0
    for mine in path:
        reached += len(mine.blocks)
        while index < len(theirs) - 1 and theirs[index][0] < reached:
            index += 1
        _, (_, _, _, last, uses, live_until, ttl_seconds, tried, returned) = theirs[index]
        mine.last_seconds = max(mine.last_seconds, last + shift)
        mine.uses = max(mine.uses, uses)
        if live_until is not None and live_until + shift > mine.live_until:
            mine.live_until, mine.ttl_seconds = live_until + shift, ttl_seconds
        if tried > mine.tried and reached == theirs[index][0]:
            mine.tried, mine.returned = tried, returned
