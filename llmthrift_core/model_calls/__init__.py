"""Calls that llmthrift makes itself, to judge an answer or to rate a question."""
