"""`Alert`: what is watched, from where on it is told, and whom. `Notice`: one thing that is told."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, get_args

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.settings import default_webhook_secret
from llmthrift_core.texts import is_storable

On = Literal["budget", "anomaly", "forecast", "cache_health", "escalations", "unpriced", "lost_rows", "quality", "batch"]
ON: Final[tuple[str, ...]] = get_args(On)
LOG: Final = "log"
_LONGEST_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that somebody should look at.

    Attributes:
        on: which kind of alert. alert: its name.
        text: what happened and, where that is known, what to do.
        at: when it was seen.
        scope: whose: attributes and their values; {} is everybody's.
        value, threshold: what was reached and what the limit is, as numbers that `text` has too; None where there are none.
        window: in which it is told once.
    """

    on: str
    alert: str
    text: str
    at: datetime
    scope: Mapping[str, str | None] = field(default_factory=dict)
    value: float | None = None
    threshold: float | None = None
    window: str = ""

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """All of it by name."""
        return asdict(self)


@dataclass(frozen=True)
class Alert:
    """Something that is watched while a process runs, and told once per window, by one process of all that share the database.

    Attributes:
        on: "budget": a share of a limit is reached; "forecast": a budget is expected to be exceeded before it resets; "anomaly": a request,
            an hour or a day took far more than usual; "cache_health": few hits, full, too short a life, entries that never answered;
            "escalations": too many first answers are rejected; "unpriced": calls without a price; "lost_rows": rows that could not be
            stored; "quality": judged answers got worse; "batch": a batch job is overdue, or requests of it failed.
        threshold: from where on. Of "budget" a share of the limit or several (0.8 and 0.95); of "forecast" the US dollars of a month's
            projection (None: the budgets' limits); of "anomaly" the US dollars above what was expected ($1); of "cache_health" the
            least hit rate (0.2, or 0.4 where more than half of the prompts repeat); of "escalations" a share (0.3); of "unpriced" and
            "lost_rows" a count (0); of "quality" how much worse (0); of "batch" the share of requests that failed (0).
        to: who is told: functions, which are called with each `Notice`; "log"; the URL of a webhook (http or https); any other URL that
            `apprise` knows, such as "slack://...". None of them is stored, logged or shown.
        name: by which it is told once and removed; None makes one of `on` and `threshold`.
        secret: signs what webhooks are sent; None is $LLMTHRIFT_WEBHOOK_SECRET, else nothing is signed.

    Raises:
        ConfigurationError: a value that cannot be used.

    >>> from llmthrift_core import Alert
    >>> Alert(on="budget", threshold=0.5, to=["https://hooks.example/T0/secret", print])
    Alert(on='budget', threshold=0.5, to=(https://hooks.example, print), name='budget 0.5')
    """

    on: On
    threshold: float | Sequence[float] | None = None
    to: Sequence[Callable[[Notice], object] | str] = ()
    name: str = ""
    secret: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.on not in ON:
            raise ConfigurationError(f"on must be one of {', '.join(map(repr, ON))}, not {self.on!r}")
        object.__setattr__(self, "threshold", _threshold(self.on, self.threshold))
        to = (self.to,) if isinstance(self.to, str) or callable(self.to) else tuple(self.to)
        for target in to:
            if not callable(target) and not (isinstance(target, str) and (target == LOG or "://" in target)):
                raise ConfigurationError(f'to takes functions, "log" and URLs, not {type(target).__name__}')  # not shown: it may hold a key
        object.__setattr__(self, "to", to)
        name = self.name or self._default_name()
        if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST_NAME or not is_storable(name):
            raise ConfigurationError(f"name must be a text of at most {_LONGEST_NAME} characters, not {name!r}")
        object.__setattr__(self, "name", name)
        if self.secret is None:
            object.__setattr__(self, "secret", default_webhook_secret())

    @property
    def shares(self) -> tuple[float, ...]:
        """The thresholds of budgets, the lowest first."""
        given = self.threshold
        if given is None:
            return (0.8, 0.95)
        return tuple(sorted(given)) if isinstance(given, Sequence) else (given,)

    def number(self, usual: float) -> float:
        """The threshold, or what is usual."""
        return usual if self.threshold is None or isinstance(self.threshold, Sequence) else self.threshold

    def _default_name(self) -> str:
        if self.threshold is None:
            return self.on
        return f"{self.on} {', '.join(f'{each:g}' for each in self.shares)}"

    def __repr__(self) -> str:
        to = ", ".join(map(shown, self.to))
        return f"Alert(on={self.on!r}, threshold={self.threshold!r}, to=({to}), name={self.name!r})"


def shown(target: Callable[..., object] | str) -> str:
    """What may be shown of one who is told: of a webhook its host, of other URLs their kind, since the rest may be a key."""
    if not isinstance(target, str):
        return getattr(target, "__name__", type(target).__name__)
    if target == LOG:
        return LOG
    kind, _, rest = target.partition("://")
    if kind.lower() in ("http", "https"):
        host = rest.partition("/")[0].partition("?")[0].partition("#")[0].rpartition("@")[2]
        return f"{kind.lower()}://{host}"
    return f"{kind}://..."


def _threshold(on: str, given: Any) -> float | tuple[float, ...] | None:
    if given is None:
        return None
    if isinstance(given, Sequence) and not isinstance(given, str) and on == "budget" and given:
        return tuple(sorted(_number(each) for each in given))
    return _number(given)


def _number(given: Any) -> float:
    try:
        number = float(given)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(given, bool | str) or not 0 <= number < math.inf:
        raise ConfigurationError(f"threshold must be a number from 0; of budgets also several: not {given!r}")
    return number
