"""How certain the model was of its own tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

_USUAL: Final = 0.8
"""Geometric mean of the token probabilities from which the score is 1. A rule of thumb; `fit` does not use it."""
_LEAST: Final = -20.0
"""Some providers give -9999 or minus infinity for a token that was not among the likely ones."""
_NONE: Final = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def log_probabilities(prompt: str, answer: str, context: Mapping[str, Any] | None = None) -> tuple[float, ...]:
    """The probabilities of the answer's tokens, where the provider gives them; neutral where it does not.

    Score; are there any; mean log-probability; the lowest; their 10% and 50% quantiles; the share of tokens below one half. Quantiles say
    more than the mean, which long answers water down (Gupta and others, "Language model cascades: token-level uncertainty and beyond", ICLR
    2024). A cascade that is fitted to examples without log-probabilities has learned nothing of them, and passes them over: give them as
    `Example(..., context={"logprobs": [...]})`.

    Args:
        context: `logprobs`, natural logarithms in the order of the tokens.
    """
    given: Sequence[float] = (context or {}).get("logprobs") or ()
    logs = sorted(min(max(float(each), _LEAST), 0.0) for each in given)
    if not logs:
        return _NONE
    mean = math.fsum(logs) / len(logs)
    return (
        min(math.exp(mean) / _USUAL, 1.0),
        1.0,
        mean,
        logs[0],
        logs[len(logs) // 10],
        logs[len(logs) // 2],
        sum(each < -math.log(2) for each in logs) / len(logs),
    )
