"""Random Fourier features of a text's counts, which make a linear model see curves and corners (Rahimi and Recht, 2007)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from llmthrift_core.lexical import LEXICAL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_WAVES: Final = 256
_WEIGHT: Final = 0.35
"""Of the kernel of counts; the one of n-grams has weight 1."""
_BANDWIDTH: Final = 1.0
"""exp(-_BANDWIDTH / LEXICAL * squared distance): similarity of two texts' standardised counts."""
_FURTHEST: Final = 4.0
"""Standard deviations from the mean at which a count is cut off."""
_LEAST_SCALE: Final = 1e-9
"""Counts that vary less do not vary."""


class Waves:
    """Vectors whose inner products approximate 0.35 times the Gaussian kernel of the texts' standardised counts.

    Args:
        state: what `state` of other waves gave.
    """

    def __init__(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._centre: Floats = state["centre"]
        self._scale: Floats = state["scale"]
        self._frequencies: Floats = state["frequencies"]
        self._phases: Floats = state["phases"]

    @classmethod
    def fitted(cls, counts: Floats, chance: np.random.Generator) -> Waves:
        """Waves of texts with such counts, shape (texts, LEXICAL)."""
        scale = counts.std(axis=0)
        return cls(
            {
                "centre": counts.mean(axis=0),
                "scale": np.where(scale > _LEAST_SCALE, scale, 1.0),
                "frequencies": chance.normal(scale=np.sqrt(2 * _BANDWIDTH / LEXICAL), size=(LEXICAL, _WAVES)),
                "phases": chance.uniform(0, 2 * np.pi, size=_WAVES),
            }
        )

    def __call__(self, counts: Floats) -> Floats:
        """The vectors of counts, shape (LEXICAL,) or (texts, LEXICAL)."""
        standard = np.clip((counts - self._centre) / self._scale, -_FURTHEST, _FURTHEST)
        waves: Floats = np.cos(standard @ self._frequencies + self._phases) * np.sqrt(2 * _WEIGHT / _WAVES)
        return waves

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """All that was fitted, as arrays."""
        return {"centre": self._centre, "scale": self._scale, "frequencies": self._frequencies, "phases": self._phases}
