"""The autopilot: proposes changes from the ledger, tries those that it may on a few users, keeps what is proven, and takes back the rest.

Names are loaded on first use: the storage behind them takes 100-150 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.exports import lazy_exports

if TYPE_CHECKING:
    from llmthrift_core.autopilot.autopilot import Autopilot as Autopilot
    from llmthrift_core.autopilot.proposals import Proposal as Proposal
    from llmthrift_core.autopilot.reporting import AutopilotReport as AutopilotReport
    from llmthrift_core.autopilot.rules import AutopilotRules as AutopilotRules

__all__ = ["Autopilot", "AutopilotReport", "AutopilotRules", "Proposal"]

__getattr__ = lazy_exports(
    __name__,
    {
        "llmthrift_core.autopilot.autopilot": ("Autopilot",),
        "llmthrift_core.autopilot.proposals": ("Proposal",),
        "llmthrift_core.autopilot.reporting": ("AutopilotReport",),
        "llmthrift_core.autopilot.rules": ("AutopilotRules",),
    },
)
