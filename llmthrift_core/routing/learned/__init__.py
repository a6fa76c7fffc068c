"""Routers that learn from labelled answers. Import from `llmthrift_core.routing`."""
