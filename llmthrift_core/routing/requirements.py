"""Requirements of one request on the model that answers it: a quality, a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from llmthrift_core.attribution import Attribution
from llmthrift_core.errors import ConfigurationError

Required = Literal["required_quality", "max_latency_seconds"]
REQUIRED: Final[tuple[Required, ...]] = ("required_quality", "max_latency_seconds")
"""Names of the arguments of a call, of its metadata, and of tags in its attribution."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a request requires beside what its policy does.

    Attributes:
        required_quality: of the answer, 0 to 1; None: what the policy requires.
        max_latency_seconds: of the model; None: what the policy allows.
    """

    required_quality: float | None = None
    max_latency_seconds: float | None = None

    def keyed(self, limits: Any) -> Any:
        """A cache key's part, which an answer under lower requirements must not share. Without any it is `limits`."""
        if self.required_quality is None and self.max_latency_seconds is None:
            return limits
        return [limits, self.required_quality, self.max_latency_seconds]


NOTHING_REQUIRED: Final = Requirements()


def take_requirements(arguments: MutableMapping[str, Any], metadata: Mapping[str, Any], attribution: Attribution) -> Requirements:
    """The requirements of a call, taken out of its keyword arguments: else those of its metadata, else of its attribution's tags.

    Metadata and tags belong to the application: a value that means nothing here is passed over.

    Raises:
        ConfigurationError: an argument that is no quality, or no time.
    """
    found: dict[str, float] = {}
    for name in REQUIRED:
        given = arguments.pop(name, None)
        if given is not None:
            found[name] = _checked(name, given)
        elif (value := _meant(name, metadata.get(name) if metadata else None)) is not None or (
            attribution.tags and (value := _meant(name, dict(attribution.tags).get(name))) is not None
        ):
            found[name] = value
    return Requirements(**found) if found else NOTHING_REQUIRED


def _checked(name: Required, given: Any) -> float:
    value = _meant(name, given)
    if value is None:
        within = "lie within 0..1" if name == "required_quality" else "be a positive number of seconds"
        raise ConfigurationError(f"{name} must {within}, not {given!r}")
    return value


def _meant(name: Required, given: Any) -> float | None:
    if given is None or isinstance(given, bool):
        return None
    try:
        value = float(given)
    except (TypeError, ValueError):
        return None
    is_meant = 0 <= value <= 1 if name == "required_quality" else 0 < value < math.inf
    return value if is_meant else None
