"""What decides which tier answers. Import from `llmthrift_core.routing`."""
