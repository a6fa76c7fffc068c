"""`AutopilotRules`: what the autopilot may touch, how far it may go, and how certain it has to be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.quality.experiments import Unit
from llmthrift_core.versions.door_settings import NAMES

BOUNDS: Final[Mapping[str, tuple[float, float]]] = {"cache_ttl_seconds": (60.0, 7 * 86_400.0), "output_cap_tokens": (50.0, 100_000.0)}
"""Between which values numbers are moved, unless the user says otherwise."""


@dataclass(frozen=True, kw_only=True)
class AutopilotRules:
    """The limits of an autopilot. It cannot move them, and it never touches a budget.

    Attributes:
        allow: settings that it may change by itself: "cache_ttl_seconds", "semantic", "max_tier", "output_cap_tokens", "shorten",
            "prompt_caching". Others are proposed, and tried once they are approved.
        max_change: a number changes at most by this factor in one step; a tier by one.
        bounds: between which values a number may be moved; what is not named has `BOUNDS`.
        canary: the share of users that a change is tried on, above 0 and up to 0.5.
        unit: what is assigned to the canary: "user", "session" or "request"; None: users where calls name them, else sessions, else
            requests. How long answers are cached is tried on questions, whoever asks them: arms of users would serve each other's.
        min_quality: the share of the present quality that all changes together must keep, as judged.
        min_saving: the share of the cost per request that a change must save.
        alpha: of wrong conclusions about one change, however often it is looked at: half of them to keep what loses more quality than
            promised.
        shortest_days, longest_days: with calls, before anything is concluded, and after which a change that is still undecided is given
            up.
        retry_days: before a change that was given up is tried again.
        window_days: of the ledger that proposals are made of.
        min_calls: in that window, before anything is proposed.
        source: only judgements by sources that begin so, such as "judge:"; None: all.

    Raises:
        ConfigurationError: an option that cannot be used.
    """

    allow: Set[str] = frozenset()
    max_change: float = 2.0
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    canary: float = 0.1
    unit: Unit | None = None
    min_quality: float = 0.98
    min_saving: float = 0.02
    alpha: float = 0.02
    shortest_days: float = 2.0
    longest_days: float = 14.0
    retry_days: float = 30.0
    window_days: float = 14.0
    min_calls: int = 500
    source: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "allow", _names(self.allow))
        _check("max_change", self.max_change, 1.0, 100.0, "a factor above 1")
        _check("canary", self.canary, 0.0, 0.5, "a share above 0", closed=True)
        _check("min_quality", self.min_quality, 0.5, 1.0, "a share of the present quality from above 0.5")
        _check("min_saving", self.min_saving, -1e-9, 1.0, "a share from 0")
        _check("alpha", self.alpha, 0.0, 0.5, "a probability above 0")
        for name in ("shortest_days", "longest_days", "retry_days", "window_days"):
            _check(name, getattr(self, name), 0.0, 3_660.0, "a number of days above 0", closed=True)
        if self.shortest_days > self.longest_days:
            raise ConfigurationError(f"shortest_days={self.shortest_days:g} is longer than longest_days={self.longest_days:g}")
        if isinstance(self.min_calls, bool) or not isinstance(self.min_calls, int) or self.min_calls < 1:
            raise ConfigurationError(f"min_calls must be a whole number of calls, 1 or more, not {self.min_calls!r}")
        if self.unit is not None and self.unit not in get_args(Unit):
            raise ConfigurationError(f'unit must be "user", "session", "request" or "question", not {self.unit!r}')
        object.__setattr__(self, "bounds", {**BOUNDS, **_bounds(self.bounds)})

    def within(self, setting: str, value: float) -> float:
        """The nearest value that the bounds of a setting allow."""
        low, high = self.bounds[setting]
        return min(max(value, low), high)

    def permits(self, setting: str, before: Any, after: Any) -> bool:
        """Whether a change stays within the bounds and the largest step."""
        if setting not in BOUNDS:
            return True
        low, high = self.bounds[setting]
        if not low <= after <= high:
            return False
        return before is None or 1 / self.max_change <= after / before <= self.max_change


def _names(given: Any) -> frozenset[str]:
    names = frozenset((given,) if isinstance(given, str) else given if isinstance(given, Iterable) else ())
    if unknown := sorted(map(str, names - set(NAMES))):
        raise ConfigurationError(f"allow names settings of doors: {', '.join(NAMES)}; not {', '.join(unknown)}")
    return names


def _bounds(given: Any) -> dict[str, tuple[float, float]]:
    found = {}
    for name, pair in dict(given).items():
        if name not in BOUNDS:
            raise ConfigurationError(f"bounds are for {' and '.join(BOUNDS)}, not {name!r}")
        try:
            low, high = (float(value) for value in pair)
        except (TypeError, ValueError):
            raise ConfigurationError(f"the bounds of {name} must be two numbers, the lower first, not {pair!r}") from None
        if not 0 < low <= high < math.inf:
            raise ConfigurationError(f"the bounds of {name} must be two positive numbers, the lower first, not {pair!r}")
        found[name] = (low, high)
    return found


def _check(name: str, value: Any, above: float, to: float, what: str, *, closed: bool = True) -> None:
    is_number = not isinstance(value, bool) and isinstance(value, int | float)
    if not is_number or not above < value or not (value <= to if closed else value < to):
        raise ConfigurationError(f"{name} must be {what} up to {to:g}, not {value!r}")
