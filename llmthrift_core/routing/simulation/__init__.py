"""Recorded traffic against a policy, beside controls. Import from `llmthrift_core.routing`."""
