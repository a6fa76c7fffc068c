"""Versions of routers and configurations: followed while a program runs, refitted, compared by what was said about answers, rolled back.

Names are loaded on first use: the storage behind them takes 100-150 ms.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from llmthrift_core.storage.version_store import Version as Version
    from llmthrift_core.versions.comparison import RollBack as RollBack
    from llmthrift_core.versions.comparison import VersionComparison as VersionComparison
    from llmthrift_core.versions.configurations import Configuration as Configuration
    from llmthrift_core.versions.configurations import Configurations as Configurations
    from llmthrift_core.versions.refit import Refit as Refit
    from llmthrift_core.versions.refit import RefitOutcome as RefitOutcome
    from llmthrift_core.versions.routers import RouterVersions as RouterVersions

_HOMES: Final = {
    "Configuration": "llmthrift_core.versions.configurations",
    "Configurations": "llmthrift_core.versions.configurations",
    "Refit": "llmthrift_core.versions.refit",
    "RefitOutcome": "llmthrift_core.versions.refit",
    "RollBack": "llmthrift_core.versions.comparison",
    "RouterVersions": "llmthrift_core.versions.routers",
    "Version": "llmthrift_core.storage.version_store",
    "VersionComparison": "llmthrift_core.versions.comparison",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
