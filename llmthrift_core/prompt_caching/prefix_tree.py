"""The prefixes that were sent: a radix tree whose nodes hold runs of blocks that always came together."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Any, Final

NEVER: Final = float("-inf")
_MOST_NEWEST: Final = 4_096


class Node:
    """A run of blocks behind its parent's.

    Attributes:
        blocks: the run.
        tokens: of the run.
        parent, children: the tree; children by their first block.
        last_seconds: when a request last went through it.
        uses: how many requests did.
        live_until: until when the provider is taken to keep it; `NEVER` for one that was not written.
        ttl_seconds: the life with which it was written.
        asked: the open question whether it comes back; None where there is none.
        unread: the write of it that nobody has read yet; None where there is none.
        tried, returned: of the runs that began behind this one, how many have an answer, and how many of them came back.
    """

    __slots__ = (
        "asked",
        "blocks",
        "children",
        "last_seconds",
        "live_until",
        "parent",
        "returned",
        "tokens",
        "tried",
        "ttl_seconds",
        "unread",
        "uses",
    )

    def __init__(self, blocks: tuple[Hashable, ...], tokens: int, parent: Node | None) -> None:
        self.blocks = blocks
        self.tokens = tokens
        self.parent = parent
        self.children: dict[Hashable, Node] = {}
        self.last_seconds = NEVER
        self.uses = 0
        self.live_until = NEVER
        self.ttl_seconds = 0.0
        self.asked: Any = None
        self.unread: Any = None
        self.tried = 0.0
        self.returned = 0.0


class PrefixTree:
    """Known prefixes, at most `max_blocks` blocks; those that were not used for the longest time are forgotten first."""

    def __init__(self, *, max_blocks: int) -> None:
        self.max_blocks = max_blocks
        self.root = Node((), 0, None)
        self.blocks = 0
        self.runs = 0
        self._leaves: list[tuple[float, int, Node]] = []
        self._newest: deque[Node] = deque(maxlen=_MOST_NEWEST)
        self._serial = 0

    def walk(self, blocks: tuple[Hashable, ...], tokens: Sequence[int]) -> tuple[list[Node], int]:
        """The nodes that hold the longest known prefix, and its number of blocks. A run that matches in part is split."""
        path: list[Node] = []
        node, at, count = self.root, 0, len(blocks)
        while at < count:
            child = node.children.get(blocks[at])
            if child is None:
                break
            run = child.blocks
            end = at + len(run)
            if blocks[at:end] == run:
                path.append(child)
                node, at = child, end
                continue
            common = 1
            while at + common < count and run[common] == blocks[at + common]:
                common += 1
            path.append(self._split(child, common, sum(tokens[at : at + common])))
            at += common
            break
        return path, at

    def kept_until(self, blocks: Sequence[Hashable], now: float) -> int:
        """The number of blocks from the beginning that the provider is taken to keep. Changes nothing."""
        node, at, count = self.root, 0, len(blocks)
        while at < count:
            child = node.children.get(blocks[at])
            if child is None or child.live_until < now:
                break
            for block in child.blocks:
                if at == count or block != blocks[at]:
                    return at
                at += 1
            node = child
        return at

    def grow(self, parent: Node | None, blocks: tuple[Hashable, ...], tokens: int) -> Node:
        """Add a run behind a node, or at the beginning."""
        above = self.root if parent is None else parent
        node = Node(blocks, tokens, above)
        above.children[blocks[0]] = node
        self.blocks += len(blocks)
        self.runs += 1
        return node

    def rest(self, leaf: Node) -> None:
        """Note that a request ended here, so that it may be forgotten in its turn."""
        self._serial += 1
        heappush(self._leaves, (leaf.last_seconds, self._serial, leaf))
        self._newest.append(leaf)

    def newest(self, most_blocks: int) -> set[int]:
        """The identities of the nodes at which requests ended last, and of those above them: about so many blocks."""
        found: set[int] = set()
        blocks = 0
        for leaf in reversed(self._newest):
            if blocks >= most_blocks:
                break
            node: Node | None = leaf
            while node is not None and node.parent is not None and id(node) not in found:
                found.add(id(node))
                blocks += len(node.blocks)
                node = node.parent
        return found

    def forget(self, *, most: int = 8) -> int:
        """Forget what was not used for longest while there are too many blocks; at most so many runs at a time."""
        gone = 0
        while gone < most and self.blocks > self.max_blocks and self._leaves:
            last, _, node = heappop(self._leaves)
            if node.parent is None or node.children:
                continue  # forgotten before, or no end any more
            if node.last_seconds > last:
                self.rest(node)
                gone += 1
                continue
            above = node.parent
            del above.children[node.blocks[0]]
            node.parent = None
            node.asked = node.unread = None
            self.blocks -= len(node.blocks)
            self.runs -= 1
            gone += 1
            if above is not self.root and not above.children:
                self.rest(above)
        if len(self._leaves) > 1_000 + 4 * self.runs:
            self._tidy()
        return gone

    def nodes(self) -> Iterator[Node]:
        """All nodes, parents first."""
        waiting = list(self.root.children.values())
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(node.children.values())

    def _split(self, node: Node, at: int, tokens: int) -> Node:
        """Divide a run. The lower part stays the same object, so that its open question stays its own; the upper part is returned."""
        upper = Node(node.blocks[:at], tokens, node.parent)
        upper.last_seconds, upper.uses = node.last_seconds, node.uses
        upper.live_until, upper.ttl_seconds = node.live_until, node.ttl_seconds
        upper.asked, upper.unread = node.asked, node.unread
        (node.parent or self.root).children[node.blocks[0]] = upper
        node.blocks, node.tokens = node.blocks[at:], max(0, node.tokens - tokens)
        node.parent = upper
        upper.children[node.blocks[0]] = node
        self.runs += 1
        return upper

    def _tidy(self) -> None:
        newest: dict[int, tuple[float, int, Node]] = {}
        for entry in self._leaves:
            if entry[2].parent is not None and not entry[2].children:
                newest[id(entry[2])] = entry
        self._leaves = sorted(newest.values(), key=lambda entry: entry[:2])
