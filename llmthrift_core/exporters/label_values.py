"""`LabelValues`: which values of an attribute have a label of their own, and which are "other"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import add
from typing import Any, Final

NONE: Final = "none"
OTHER: Final = "other"


class LabelValues:
    """A bounded set of labels for sums that only grow.

    The first `top` values, the largest first, are shown by themselves from then on; all others are summed up as "other". A value never
    moves between them, so that no sum falls: a sum that falls looks like a restart to Prometheus.

    >>> labels = LabelValues(top=1)
    >>> labels.gather({"a": [5], "b": [3]})
    {'a': [5], 'other': [3]}
    >>> labels.gather({"a": [5], "b": [9], None: [1]})
    {'other': [10], 'a': [5]}
    """

    def __init__(self, top: int) -> None:
        self._top = top
        self._shown: set[str] = set()

    def gather(self, groups: Mapping[Any, Sequence[Any]]) -> dict[str, list[Any]]:
        """Sums by label, from sums by value, of which the first amount says how large a value is. None is the label "none"."""
        gathered: dict[str, list[Any]] = {}
        for value, amounts in sorted(groups.items(), key=lambda group: (-group[1][0], str(group[0]))):
            label = NONE if value is None or value == "" else str(value)
            if label not in self._shown:
                if len(self._shown) < self._top:
                    self._shown.add(label)
                else:
                    label = OTHER
            gathered[label] = list(map(add, gathered[label], amounts)) if label in gathered else list(amounts)
        return gathered
