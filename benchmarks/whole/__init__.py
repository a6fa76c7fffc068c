"""Proof of the whole: a mixed workload through real clients, naively and with llmthrift."""
