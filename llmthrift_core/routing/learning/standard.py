"""Measures in units of their own spread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_FURTHEST: Final = 4.0
"""Standard deviations from the mean at which a measure is cut off."""
_LEAST_SCALE: Final = 1e-9
"""Measures that vary less do not vary."""


@dataclass(frozen=True, slots=True)
class Standard:
    """Mean and standard deviation of measures, shape (measures,)."""

    centre: Floats
    scale: Floats

    @classmethod
    def of(cls, rows: Floats) -> Standard:
        """Those of rows, shape (rows, measures)."""
        scale = rows.std(axis=0)
        return cls(rows.mean(axis=0), np.where(scale > _LEAST_SCALE, scale, 1.0))

    def __call__(self, measures: Floats) -> Floats:
        """Measures, shape (measures,) or (rows, measures), as standard deviations from the mean, 4 at most."""
        standard: Floats = np.clip((measures - self.centre) / self.scale, -_FURTHEST, _FURTHEST)
        return standard
