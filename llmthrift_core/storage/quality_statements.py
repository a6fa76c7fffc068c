"""The statements of judgements, feedback and experiments."""

from __future__ import annotations
