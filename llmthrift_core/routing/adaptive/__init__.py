"""Routing that learns while it serves, from what was said about answers. Import from `llmthrift_core.routing`."""
