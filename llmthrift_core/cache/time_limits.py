"""The time that a caller waits for an answer, by what his model's client was told: so long he waits for another call of the kind, too."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

_NAMES: Final = ("timeout", "request_timeout", "default_request_timeout")


def time_limit_of(*parameters: Mapping[str, Any]) -> float | None:
    """The seconds after which a call gives up; None if it does not.

    Args:
        parameters: of the call and of its model, in the order of precedence. A limit is a number, an object with the limit of a read as
            `read`, or a pair of the limits of a connection and of a read.

    >>> time_limit_of({"temperature": 0}, {"request_timeout": 20})
    20.0
    >>> time_limit_of({"timeout": (2.0, 30.0)}), time_limit_of({})
    (30.0, None)
    """
    for each in parameters:
        for name in _NAMES:
            if (seconds := _seconds(each.get(name))) is not None:
                return seconds
    return None


def _seconds(limit: Any) -> float | None:
    if isinstance(limit, list | tuple):
        limit = limit[1] if len(limit) > 1 else None
    if not isinstance(limit, int | float):
        limit = getattr(limit, "read", None)
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not isfinite(limit) or limit <= 0:
        return None
    return float(limit)
