"""Versions of routers and configurations: followed while a program runs, refitted, compared by what was said about answers, rolled back.

Names are loaded on first use: the storage behind them takes 100-150 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.exports import lazy_exports

if TYPE_CHECKING:
    from llmthrift_core.versions.comparison import RollBack as RollBack
    from llmthrift_core.versions.comparison import VersionComparison as VersionComparison
    from llmthrift_core.versions.configurations import Configuration as Configuration
    from llmthrift_core.versions.configurations import Configurations as Configurations
    from llmthrift_core.versions.refit import Refit as Refit
    from llmthrift_core.versions.refit import RefitOutcome as RefitOutcome
    from llmthrift_core.versions.routers import RouterVersions as RouterVersions
    from llmthrift_core.versions.store import Version as Version

__all__ = ["Configuration", "Configurations", "Refit", "RefitOutcome", "RollBack", "RouterVersions", "Version", "VersionComparison"]

__getattr__ = lazy_exports(
    __name__,
    {
        "llmthrift_core.versions.comparison": ("RollBack", "VersionComparison"),
        "llmthrift_core.versions.configurations": ("Configuration", "Configurations"),
        "llmthrift_core.versions.refit": ("Refit", "RefitOutcome"),
        "llmthrift_core.versions.routers": ("RouterVersions",),
        "llmthrift_core.versions.store": ("Version",),
    },
)
