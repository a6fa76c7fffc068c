"""An alert for cascades that escalate so often that they may cost more than they save."""

from __future__ import annotations

from typing import Final

from llmthrift_core.display import counted

_ALARMING: Final = 0.3
"""Above this share of escalations, two calls for one answer eat up what the cheap model saves."""
_ENOUGH: Final = 100
"""With fewer answers, a share says nothing."""


def escalation_alert(whose: str, *, answers: int, rate: float | None) -> str | None:
    """What to say of a cascade that rejected more than 30% of 100 or more first answers; None of others.

    Args:
        whose: the answers, such as a model's name.
        answers: how many first answers there were.
        rate: the share of them that was rejected; None where there are none.

    >>> escalation_alert("small", answers=99, rate=1.0) is None, escalation_alert("small", answers=100, rate=0.3) is None
    (True, True)
    """
    if rate is None or answers < _ENOUGH or rate <= _ALARMING:
        return None
    return (
        f"{whose}: {rate:.0%} of {counted(answers, 'first answer was', 'first answers were')} escalated, more than {_ALARMING:.0%}: "
        "a cascade that asks "
        "twice so often may cost more than it saves; begin with another model, route hard questions past it with "
        "CascadePolicy(first=...), or fit it"
    )
