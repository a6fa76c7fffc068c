"""What happened to a budget, by the notes that every process of `benchmarks.reservations` makes of what it does."""

from __future__ import annotations

import os
import struct
import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_NOTE = struct.Struct("=cidd")


@dataclass(frozen=True)
class Workload:
    """What is asked of a subject. Money is in nano-USD."""

    processes: int
    at_once: int
    requests: int
    lease: float
    killed: int
    most: int
    cost: int

    @property
    def limit(self) -> int:
        """Room for half."""
        return self.processes * self.requests * self.cost // 2


@dataclass
class Call:
    """The moments of one request, in seconds; None for what did not happen."""

    asked: float
    granted: tuple[float, float] | None = None
    refused: float | None = None
    failed: float | None = None
    answered: float | None = None
    settled: tuple[float, float] | None = None


def note(notes: int, kind: bytes, call: int, since: float) -> None:
    """Say that a step of a call (R asked, X refused, G granted, E failed, T answered, S settled) has ended now, or another event."""
    os.write(notes, _NOTE.pack(kind, call, since, time.monotonic()))  # what is written outlives the process


@dataclass
class Story:
    """What the notes of all processes say."""

    name: str
    work: Workload
    killed_at: float
    began: float
    calls: list[Call] = field(default_factory=list)
    storm_ended: float = 0.0
    back: float | None = None
    back_after_quiet: float | None = None

    def read(self, folder: Path) -> None:
        """Read every process's notes."""
        for path in folder.iterdir():
            content = path.read_bytes()
            calls: dict[int, Call] = {}
            for kind, number, since, at in _NOTE.iter_unpack(content[: len(content) // _NOTE.size * _NOTE.size]):
                if kind == b"D":
                    self.storm_ended = max(self.storm_ended, at)
                elif kind == b"B":
                    self.back = at
                elif kind == b"Q":
                    self.back_after_quiet = at
                elif kind == b"R":
                    calls[number] = Call(at)
                elif kind == b"G":
                    calls[number].granted = since, at
                elif kind == b"X":
                    calls[number].refused = at
                elif kind == b"E":
                    calls[number].failed = at
                elif kind == b"T":
                    calls[number].answered = at
                elif kind == b"S":
                    calls[number].settled = since, at
            self.calls += calls.values()

    @property
    def spent(self) -> int:
        """What calls cost whose answer came."""
        return self.work.cost * sum(call.answered is not None for call in self.calls)

    @property
    def overspent(self) -> int:
        """What was spent above the limit."""
        return max(self.spent - self.work.limit, 0)

    @property
    def overspent_unkilled(self) -> int:
        """The same, without the calls whose process was killed before it settled them."""
        return max(self.spent - self.work.limit - self.unsettled * self.work.cost, 0)

    @property
    def stranded(self) -> int:
        """What was set aside by the killed, for all that they noted."""
        return self.work.most * sum(call.granted is not None and call.settled is None and call.failed is None for call in self.calls)

    @property
    def unsettled(self) -> int:
        """Calls of the killed whose answer came, and was not settled any more."""
        return sum(call.answered is not None and call.settled is None for call in self.calls)

    @property
    def taken(self) -> list[float]:
        """Seconds of each reservation with its settlement, before anything else was over."""
        return sorted(
            call.granted[1] - call.granted[0] + call.settled[1] - call.settled[0]
            for call in self.calls
            if call.granted and call.settled and call.asked < self.storm_ended
        )

    def refusals(self, each: int) -> Iterator[tuple[Call, bool]]:
        """Each refused call, and whether it fitted, if every call that was not over might have cost `each`."""
        changes = sorted(self._changes(each))
        moments, sums, total = [at for at, _ in changes], [0], 0
        for _, change in changes:
            total += change
            sums.append(total)
        for call in self.calls:
            if call.refused is not None:
                held = max(sums[bisect_right(moments, call.asked) : bisect_right(moments, call.refused) + 1])
                yield call, held + each <= self.work.limit

    def _changes(self, each: int) -> Iterator[tuple[float, int]]:
        for call in self.calls:
            if call.refused is None:
                yield call.asked, each
                over = call.settled[1] if call.settled else call.failed or self.killed_at + self.work.lease
                yield over, (self.work.cost if call.answered is not None else 0) - each
