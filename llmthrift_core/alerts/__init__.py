"""Alerts: who is told when a budget, a forecast, a cache or anything else needs somebody to look."""

from __future__ import annotations

from llmthrift_core.alerts.alert import Alert, Notice
from llmthrift_core.alerts.webhook import is_signed_webhook

__all__ = ["Alert", "Notice", "is_signed_webhook"]
