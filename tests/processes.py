"""Other processes for tests. Each is forked from one that has imported everything already: imports would take most of their time."""

from __future__ import annotations

import multiprocessing
from typing import Final

FORK_SERVER: Final = multiprocessing.get_context("forkserver")
"""Starts processes that share nothing with the test's own: neither its threads nor its open databases."""
FORK_SERVER.set_forkserver_preload(
    [
        "numpy",
        "psycopg",
        "pytest",
        "valkey",
        "llmthrift_core.thrift",
        "llmthrift_core.cache.semantic.cache",
        "llmthrift_core.cache.sql_store",
        "llmthrift_core.cache.valkey_store",
        "llmthrift_core.reports.report",
        "llmthrift_core.routing",
    ]
)
