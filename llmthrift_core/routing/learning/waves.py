"""Random Fourier features of a text's counts, which make a linear model see curves and corners (Rahimi and Recht, 2007)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from llmthrift_core.lexical import LEXICAL
from llmthrift_core.routing.learning.standard import Standard

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_WAVES: Final = 256
_WEIGHT: Final = 0.35
"""Of the kernel of counts; the one of n-grams has weight 1."""
_BANDWIDTH: Final = 1.0
"""exp(-_BANDWIDTH / LEXICAL * squared distance): similarity of two texts' standardised counts."""


class Waves:
    """Vectors whose inner products approximate 0.35 times the Gaussian kernel of the texts' standardised counts.

    Args:
        state: what `state` of other waves gave.
    """

    def __init__(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._standard = Standard(state["centre"], state["scale"])
        self._frequencies: Floats = state["frequencies"]
        self._phases: Floats = state["phases"]

    @classmethod
    def fitted(cls, counts: Floats, chance: np.random.Generator) -> Waves:
        """Waves of texts with such counts, shape (texts, LEXICAL)."""
        standard = Standard.of(counts)
        return cls(
            {
                "centre": standard.centre,
                "scale": standard.scale,
                "frequencies": chance.normal(scale=np.sqrt(2 * _BANDWIDTH / LEXICAL), size=(LEXICAL, _WAVES)),
                "phases": chance.uniform(0, 2 * np.pi, size=_WAVES),
            }
        )

    def __call__(self, counts: Floats) -> Floats:
        """The vectors of counts, shape (LEXICAL,) or (texts, LEXICAL)."""
        waves: Floats = np.cos(self._standard(counts) @ self._frequencies + self._phases) * np.sqrt(2 * _WEIGHT / _WAVES)
        return waves

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """All that was fitted, as arrays."""
        return {"centre": self._standard.centre, "scale": self._standard.scale, "frequencies": self._frequencies, "phases": self._phases}
