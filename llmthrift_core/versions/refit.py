"""The rule for fitting a router again, and the outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.versions.store import Version


@dataclass(frozen=True, kw_only=True)
class Refit:
    """How a `LearnedRouter` is fitted again.

    A refit is due when enough answers were judged since the last one was tried: `min_new_examples`, and `growth` times as many as there
    were before, so that a growing ledger is not learned again and again for little news. Time alone makes none due: without new labels
    there is nothing to learn. Part of the new prompts is held out. On them, which neither router was fitted on, the new version is
    compared with the active one.

    A router that runs gets labels of its own choices alone, and a refit that would choose otherwise cannot be judged by them: let other
    models answer a sample of the traffic too, and judge it (an `Experiment` whose arms are models, or calls of your own as in the README).

    Attributes:
        models, default, min_quality: as `LearnedRouter` takes them, and `thrift.examples(models=...)`.
        cascade: a `Cascade` of these models, cheapest first, is fitted instead; only by `thrift.routers.refit_together`.
        min_new_examples: judged answers since the last try.
        growth: the same as a share of those before, 0 or more.
        held_out_share: of the prompts that are new since the active version was saved, 0.1 to 0.9.
        history_days: answers that are older are not learned from.
        seed: of what is drawn at random.

    Raises:
        ConfigurationError: an option that cannot be used.
    """

    models: Mapping[str, float | str]
    default: str | None = None
    min_quality: float = 0.98
    min_new_examples: int = 200
    growth: float = 0.2
    held_out_share: float = 0.4
    history_days: float = 180.0
    seed: int = 0
    cascade: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.min_new_examples, bool) or not isinstance(self.min_new_examples, int) or self.min_new_examples < 1:
            raise ConfigurationError(f"min_new_examples must be a whole number, 1 or more, not {self.min_new_examples!r}")
        if not isinstance(self.growth, int | float) or not 0 <= self.growth < 100:
            raise ConfigurationError(f"growth must be a share, 0 or more, such as 0.2, not {self.growth!r}")
        if not isinstance(self.held_out_share, int | float) or not 0.1 <= self.held_out_share <= 0.9:
            raise ConfigurationError(f"held_out_share must be from 0.1 to 0.9, not {self.held_out_share!r}")
        if not isinstance(self.history_days, int | float) or not 0 < self.history_days < 100_000:
            raise ConfigurationError(f"history_days must be a positive number of days, not {self.history_days!r}")

    def needed(self, before: int) -> int:
        """How many new examples make a refit due, with so many before."""
        return max(self.min_new_examples, round(self.growth * before))


@dataclass(frozen=True, slots=True)
class RefitOutcome:
    """What came of a try.

    Attributes:
        saved: the new version; None: nothing was saved.
        why: in words with the figures. The note of the version says the same.
        missing: so many more examples are needed before a try is worth it; 0 where it was made.
    """

    saved: Version | None
    why: str
    missing: int = 0

    @property
    def activated(self) -> bool:
        """Whether there is a new active version."""
        return self.saved is not None and self.saved.active
