"""Choices of calls to judge, and of the arm of a unit: by a keyed hash, so that all processes make the same ones."""

from __future__ import annotations

import math
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final, Literal

from llmthrift_core.errors import ConfigurationError

Reason = Literal["feature", "canary", "sample"]

_KEY: Final = b"llmthrift-evaluation-1"


def position(text: str, *, key: bytes) -> float:
    """Where a text falls in [0, 1): evenly spread, and independent between keys.

    Args:
        key: at most 64 bytes.

    >>> position("ada", key=b"a") == position("ada", key=b"a") != position("ada", key=b"b")
    True
    """
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
    return (int.from_bytes(digest) >> 11) / (1 << 53)  # 53 bits: as many as a float holds


def labels_worth(calls: int, usd_per_call: float, usd_per_label: float) -> int:
    """How many judged answers so many calls of a router are worth: all of the first ones, then fewer and fewer.

    What a router does not know yet costs about a call's dollars over the square root of the labels. With what the labels cost, that is
    least at (calls * usd_per_call / (2 * usd_per_label)) ** (2/3), the rate of explore-then-commit (Lattimore and Szepesvari, Bandit
    Algorithms, 2020, chapter 6). Ask for more where there are fewer; where a judge costs as much as an answer, that is soon over.

    Args:
        calls: that the router has had.
        usd_per_call: of these.
        usd_per_label: of a judged answer: the judgement, and the answer where it was only given to be judged.

    Raises:
        ConfigurationError: a number below 0, or labels that cost nothing.

    >>> from llmthrift_core.quality import labels_worth
    >>> labels_worth(50, 0.0015, 0.0001), labels_worth(1_000, 0.0015, 0.0001), labels_worth(1_000, 0.0001, 0.0001)
    (52, 383, 63)
    """
    given = {"calls": calls, "usd_per_call": usd_per_call, "usd_per_label": usd_per_label}
    for name, value in given.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
        if not is_number or (value == 0 and name == "usd_per_label"):
            raise ConfigurationError(f"{name} must be a number, 0 or more, and usd_per_label above 0, not {value!r}")
    return round(math.pow(calls * usd_per_call / (2 * usd_per_label), 2 / 3))


class Sampling:
    """All calls of some features and prompt versions, and a share of the others.

    Args:
        always_features: judged whatever the share.
        canary_prompt_versions: new versions of a prompt, likewise.
        share: of the other calls, from 0 to 1.

    Raises:
        ConfigurationError: a share or names that cannot be used.
    """

    def __init__(self, always_features: Iterable[str], canary_prompt_versions: Iterable[str], share: float) -> None:
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ConfigurationError(f"sample must be a share from 0 to 1, not {share!r}")
        self.always_features = _names("always_features", always_features)
        self.canary_prompt_versions = _names("canary_prompt_versions", canary_prompt_versions)
        self.share = share

    def reason(self, request_id: str, feature: str | None, prompt_version: str | None) -> Reason | None:
        """Why a call is judged; None: it is not."""
        if feature in self.always_features:
            return "feature"
        if prompt_version in self.canary_prompt_versions:
            return "canary"
        return "sample" if self.order(request_id) < self.share else None

    def order(self, request_id: str) -> float:
        """In which order calls are judged while the money lasts: as if drawn, so that what is left out is not special."""
        return position(request_id, key=_KEY)


def _names(name: str, given: Any) -> frozenset[str]:
    names = (given,) if isinstance(given, str) else given
    try:
        found = frozenset(names)
    except TypeError:
        raise ConfigurationError(f"{name} must be names, not {given!r}") from None
    if not all(isinstance(each, str) and each for each in found):
        raise ConfigurationError(f"{name} must be names, not {given!r}")
    return found
