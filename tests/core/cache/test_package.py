"""The package: what it exports, and what importing it does not load."""

from __future__ import annotations

import subprocess
import sys

import llmthrift_core.cache


def test_everything_exported_is_there() -> None:
    for name in llmthrift_core.cache.__all__:
        assert getattr(llmthrift_core.cache, name) is not None


def test_policies_keys_and_flights_load_no_database() -> None:
    program = (
        "import sys\n"
        "from llmthrift_core.cache import CachePolicy, Flights, canonical_json\n"
        "heavy = {'sqlalchemy', 'pydantic', 'sqlite3', 'psycopg', 'alembic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
