"""Recent removals, for the answers that are on their way into the store meanwhile. In memory: GPTCache has no place for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from llmthrift_core.cache.semantic.store import NewAnswer
from llmthrift_core.cache.store import Criteria, fits

_MOST: Final = 10_000


class Removals:
    """The criteria of the latest removals. Callers take turns.

    Attributes:
        epoch: rises with every removal.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self._latest: deque[str] = deque(maxlen=_MOST)

    def announce(self, criteria: Criteria) -> None:
        """What fulfils the criteria is removed now."""
        self.epoch += 1
        self._latest.append(criteria.to_json())

    def have_met(self, new: NewAnswer, labels: Sequence[tuple[str, str]], since: int) -> bool:
        """Whether an answer that was asked for at an epoch would have been removed since."""
        missed = self.epoch - since
        if missed > len(self._latest):  # so many that the first are forgotten
            return True
        tags, sources = ([value for kind, value in labels if kind == wanted] for wanted in ("tag", "source"))
        return any(fits(each, new._asdict(), tags, sources) for each in list(self._latest)[len(self._latest) - missed :])
