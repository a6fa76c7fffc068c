"""Run Alembic inside a transaction that is open already. Imported only when a database is older than this release."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

_HERE: Final = Path(__file__).parent
VERSIONS = _HERE / "versions"


def upgrade(connection: Connection, revision: str) -> None:
    """Migrate to `revision`. The caller commits, so that a failed migration leaves the database as it was."""
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(VERSIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
