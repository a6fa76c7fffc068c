"""`Budget`: what may be spent, by whom, in which window, and what happens when it is not enough."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Literal, get_args
from zoneinfo import ZoneInfo

from llmthrift_core.budgets.store import KeptBudget
from llmthrift_core.errors import ConfigurationError, StorageError
from llmthrift_core.money import to_nano_usd, to_usd
from llmthrift_core.texts import is_storable

Window = Literal["request", "minute", "hour", "day", "week", "month", "total"]
OnExceed = Literal["block", "downgrade", "queue", "warn"]
_MOST: Final = 2**62
_LONGEST_NAME: Final = 200
_LONGEST_WAIT_SECONDS: Final = 3600.0
_STORED_APART: Final = ("name", "limit_usd", "limit_tokens", "limit_requests", "limit_tool_calls", "limit_seconds")
_LONGEST_SECONDS: Final = 366 * 86_400.0
_ALONE: Final = ("limit_tool_calls", "limit_seconds")
_SECONDS: Final = "seconds"
_COUNTS: Final = "counts"  # what the stored limit of tokens is a limit of, if not of tokens


@dataclass(frozen=True)
class Budget:
    """A limit in dollars, tokens or requests, or in several of them at once; or one in tool calls, or in seconds.

    Attributes:
        limit_usd: US dollars, kept to nine decimals. limit_tokens: input and output together. limit_requests: model attempts.
        limit_tool_calls: tool calls that answers ask for; with per="run", those of one agent's run. It stands alone. An answer that asks
            for more than are left is refused after it was paid for, and before any of its tools is run.
        limit_seconds: wall time since the first call, with per="run" since that of the run: later calls are refused, those under way end.
            It stands alone, needs `per`, and blocks or warns; calls without that attribute have no limit.
        window: the time in which the limit holds; "request" limits every single attempt, "total" never resets.
        per: attributes that are counted apart: "user", "feature", "session", "run", "request_type", "model", or the name of a tag
            (such as "team"). None counts everybody together. Calls that lack the attribute share one count.
        match: only calls with these attributes are counted.
        on_exceed: "block" refuses; "downgrade" lets a router take a cheaper model that fits, and refuses elsewhere; "queue" waits
            up to `max_wait_seconds` for room, then refuses; "warn" only says so.
        name: identifies the budget: adding one of the same name replaces it. None makes a name of everything but the limits.
        tz: the time zone in which days, weeks (from Monday) and months begin.
        unpriced: whether a limit in dollars refuses models without a price.
        on_store_error: what happens while the database cannot be reached: "block" refuses, "allow" goes on uncounted.
        max_wait_seconds: for "queue".
        alert_at: shares of a limit whose reaching is told once per window.
        clamp_output: where there is no room for a whole answer, routers lower the model's limit on output tokens to what is left
            rather than refuse. A shorter answer may be cut off, and a reasoning model may then answer nothing.

    Raises:
        ConfigurationError: a value that cannot be used.

    >>> from llmthrift_core import Budget
    >>> Budget(limit_usd=10, window="day", per="user").name
    'usd per user a day'
    """

    limit_usd: Decimal | int | float | str | None = None
    limit_tokens: int | None = None
    limit_requests: int | None = None
    limit_tool_calls: int | None = None
    limit_seconds: float | None = None
    window: Window = "total"
    per: str | Sequence[str] | None = ()
    match: Mapping[str, str] = field(default_factory=dict)
    on_exceed: OnExceed = "block"
    name: str = ""
    tz: str = "UTC"
    unpriced: Literal["refuse", "allow"] = "refuse"
    on_store_error: Literal["block", "allow"] = "block"
    max_wait_seconds: float = 30.0
    alert_at: Sequence[float] = (0.8, 0.95)
    clamp_output: bool = False

    def __post_init__(self) -> None:
        limits = [name for name in _STORED_APART[1:] if getattr(self, name) is not None]
        if not limits:
            raise ConfigurationError("a budget needs limit_usd=, limit_tokens=, limit_requests=, limit_tool_calls= or limit_seconds=")
        if limits[-1] in _ALONE and len(limits) > 1:
            raise ConfigurationError(f"{limits[-1]}= stands alone: make a second budget for {', '.join(limits[:-1])}")
        if self.limit_usd is not None:
            nano = to_nano_usd(self.limit_usd)
            if not 0 <= nano <= _MOST:
                raise ConfigurationError(f"limit_usd must be from 0 to {_MOST // 10**9:,}, not {self.limit_usd!r}")
            object.__setattr__(self, "limit_usd", Decimal(nano).scaleb(-9))
        for name in ("limit_tokens", "limit_requests", "limit_tool_calls"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST):
                raise ConfigurationError(f"{name} must be a whole number from 0, not {value!r}")
        _one_of("window", self.window, get_args(Window))
        _one_of("on_exceed", self.on_exceed, get_args(OnExceed))
        _one_of("unpriced", self.unpriced, ("refuse", "allow"))
        _one_of("clamp_output", self.clamp_output, (True, False))
        _one_of("on_store_error", self.on_store_error, ("block", "allow"))
        object.__setattr__(self, "per", _attributes(self.per))
        object.__setattr__(self, "match", _pairs(self.match))
        if self.limit_seconds is not None:
            object.__setattr__(self, "limit_seconds", self._checked_seconds(self.limit_seconds))
        _check_zone(self.tz)
        if not 0 <= self.max_wait_seconds <= _LONGEST_WAIT_SECONDS:
            raise ConfigurationError(f"max_wait_seconds must be from 0 to {_LONGEST_WAIT_SECONDS:.0f}, not {self.max_wait_seconds!r}")
        shares = tuple(self.alert_at)
        if any(isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1 for share in shares):
            raise ConfigurationError(f"alert_at must be shares above 0 and up to 1, not {self.alert_at!r}")
        object.__setattr__(self, "alert_at", tuple(sorted(shares)))
        name = self.name or self._default_name()
        if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST_NAME or not is_storable(name):
            raise ConfigurationError(f"name must be a text of at most {_LONGEST_NAME} characters that a database can store, not {name!r}")
        object.__setattr__(self, "name", name)

    @property
    def limit_nano_usd(self) -> int | None:
        """`limit_usd` as integer nano-USD."""
        return None if self.limit_usd is None else to_nano_usd(self.limit_usd)

    def _checked_seconds(self, seconds: Any) -> float:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= _LONGEST_SECONDS:
            raise ConfigurationError(f"limit_seconds must be above 0 and up to {_LONGEST_SECONDS:,.0f}, not {seconds!r}")
        if not self.per or self.window == "request":
            raise ConfigurationError('limit_seconds= needs somebody whose time it is, such as per="run", and a window other than "request"')
        if self.on_exceed not in ("block", "warn"):
            raise ConfigurationError(f'limit_seconds= goes with on_exceed="block" or "warn", not {self.on_exceed!r}')
        return float(seconds)

    def _default_name(self) -> str:
        units = [unit for unit in ("usd", "tokens", "requests", "tool_calls", "seconds") if getattr(self, f"limit_{unit}") is not None]
        per = f" per {', '.join(self.per or ())}" if self.per else ""
        window = {"total": "", "request": " a single request"}.get(self.window, f" a{'n' if self.window == 'hour' else ''} {self.window}")
        where = " where " + ", ".join(f"{key}={value}" for key, value in self.match.items()) if self.match else ""
        return f"{' and '.join(units).replace('_', ' ')}{per}{window}{where}"[:_LONGEST_NAME]


def _one_of(name: str, value: Any, choices: Sequence[Any]) -> None:
    if value not in choices:
        raise ConfigurationError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")


def _attributes(per: Any) -> tuple[str, ...]:
    names = (per,) if isinstance(per, str) or not isinstance(per, Sequence | None) else tuple(per or ())
    if not all(isinstance(name, str) and name and is_storable(name) for name in names):
        raise ConfigurationError(f"per must be names of attributes or tags, not {per!r}")
    return tuple(dict.fromkeys(names))


def _pairs(match: Any) -> dict[str, str]:
    if not isinstance(match, Mapping) or not all(
        isinstance(text, str) and text and is_storable(text) for pair in match.items() for text in pair
    ):
        raise ConfigurationError(f"match must map names of attributes or tags to texts, not {match!r}")
    return dict(sorted(match.items()))


def _check_zone(tz: Any) -> None:
    try:
        ZoneInfo(tz)
    except (KeyError, ValueError, TypeError, OSError):
        raise ConfigurationError(f"tz={tz!r} is not a time zone such as 'Europe/Berlin'") from None


def checked_amount(name: str, value: Any) -> int:
    """A whole number of tokens or nano-USD that is not negative.

    Raises:
        ConfigurationError: anything else.
    """
    if type(value) is int and 0 <= value <= _MOST:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= _MOST:
        raise ConfigurationError(f"{name} must be a number from 0 to {_MOST:,}, not {value!r}")
    return math.ceil(value)


def kept_of(budget: Budget) -> KeptBudget:
    """A budget as stores keep it."""
    settings = {name: value for name, value in asdict(budget).items() if name not in _STORED_APART}
    tokens = budget.limit_tokens
    if budget.limit_tool_calls is not None:
        settings[_COUNTS], tokens = "tool_calls", budget.limit_tool_calls
    if budget.limit_seconds is not None:
        settings[_COUNTS], settings[_SECONDS] = "seconds", budget.limit_seconds  # no limit that a store checks: the window keeps a moment
    return KeptBudget(budget.name, budget.limit_nano_usd, tokens, budget.limit_requests, json.dumps(settings, sort_keys=True))


@lru_cache(maxsize=1024)
def budget_of(kept: KeptBudget) -> Budget:
    """A stored budget. Raises StorageError: a newer version may have written it."""
    name, limit_nano_usd, limit_tokens, limit_requests, settings = kept
    try:
        values = json.loads(settings)
        counts = values.pop(_COUNTS, None)
        if counts == "tool_calls":
            values["limit_tool_calls"], limit_tokens = limit_tokens, None
        elif counts == "seconds":
            values["limit_seconds"] = values.pop(_SECONDS)
        limit_usd = None if limit_nano_usd is None else to_usd(limit_nano_usd)
        return Budget(limit_usd=limit_usd, limit_tokens=limit_tokens, limit_requests=limit_requests, name=name, **values)
    except (ValueError, TypeError) as error:
        # A budget that cannot be read must not be taken for none.
        raise StorageError(f"budget {name!r} cannot be read ({type(error).__name__}); remove it and add it again") from None
