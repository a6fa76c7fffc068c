"""Policies that choose the tier that answers. Import from `llmthrift_core.routing`."""
