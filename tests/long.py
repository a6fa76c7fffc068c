"""How much of what is drawn by chance, or done again and again, is tried: `LLMTHRIFT_STRESS=long` tries more."""

from __future__ import annotations

import os

LONG = os.environ.get("LLMTHRIFT_STRESS") == "long"
