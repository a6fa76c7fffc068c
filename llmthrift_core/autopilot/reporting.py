"""The report of an autopilot: what it did and found, as rows and text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from llmthrift_core.autopilot.proposals import Proposal
from llmthrift_core.display import Printed, cell, html_table, plain_table, usd

Action = Literal["waits", "tries", "keeps", "gives up", "takes back", "stopped", "watches", "cannot watch"]


@dataclass(frozen=True, slots=True)
class Step:
    """What was done about one configuration.

    Attributes:
        tuning: its name; "" for all.
        action: "tries" a change on a canary, "keeps" it for everybody, "gives up", "takes back" what was kept, "waits", "watches",
            "cannot watch": something was kept, and nobody judges answers any more.
        why: in words, with figures.
        version: that is active now; None: none is.
    """

    tuning: str
    action: Action
    why: str
    version: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Every attribute by name."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, repr=False)
class AutopilotReport(Printed):
    """What an autopilot did, or would do.

    Attributes:
        acted: it had the lease and was not stopped.
        steps: one for each configuration that doors follow.
        proposals: what could be changed, the largest expected saving first.
    """

    acted: bool
    steps: tuple[Step, ...]
    proposals: tuple[Proposal, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All of it as one dict."""
        return {
            "acted": self.acted,
            "steps": [each.to_dict() for each in self.steps],
            "proposals": [each.to_dict() for each in self.proposals],
        }

    def to_text(self) -> str:
        """A line for each configuration, and the proposals."""
        lines = [f"{cell(each.tuning) or 'autopilot'} {each.action}: {cell(each.why)}" for each in self.steps]
        if self.proposals:
            lines += ["", plain_table(*self._table())]
            lines += [f"{each.id or '-'}: {cell(each.description)} Risk ({each.risk}): {cell(each.risk_is)}." for each in self.proposals]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        lines = "".join(f"<p>{escape(each.tuning or 'autopilot')} {each.action}: {escape(each.why)}</p>" for each in self.steps)
        return lines + (html_table(*self._table()) if self.proposals else "")

    def _table(self) -> tuple[list[str], Sequence[list[Any]]]:
        rows = [
            [each.id, each.kind, each.standing, usd(each.saving_usd), f"{usd(each.low_usd)} to {usd(each.high_usd)}"]
            for each in self.proposals
        ]
        return ["id", "kind", "standing", "a month", "range"], rows
