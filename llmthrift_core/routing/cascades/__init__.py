"""Judging answers: how good they are, and what asking the next model is worth. Import from `llmthrift_core.routing`."""
