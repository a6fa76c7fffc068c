"""The statements of versions and leases."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, case, func, select, update

from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import versions

_OF_NAME: Final = (versions.c.kind == bindparam("of_kind")) & (versions.c.name == bindparam("of_name"))
_OF_VERSION: Final = versions.c.version == bindparam("of_version")
_IS_OF_VERSION: Final = versions.c.version == bindparam("version")
_COLUMNS: Final = ("kind", "name", "version", "state", "created_us", "note")
# On PostgreSQL the rows stay locked until the transaction ends; on SQLite a transaction that writes is alone.
LOCK_VERSIONS: Final = Statement(
    select(versions.c.version, versions.c.active, versions.c.activated_us).where(_OF_NAME).order_by(versions.c.version).with_for_update()
)
ADD_VERSION: Final = Statement(
    lambda insert: (
        insert(versions)
        .values({name: bindparam(name) for name in _COLUMNS} | {"active": 0})
        .on_conflict_do_nothing(index_elements=["kind", "name", "version"])
    )
)
USE_VERSION: Final = Statement(
    update(versions)
    .values(
        active=case((_OF_VERSION, 1), else_=0),
        activated_us=case((_IS_OF_VERSION, bindparam("activated_us")), else_=versions.c.activated_us),
    )
    .where(_OF_NAME)
)
NOTE_VERSION: Final = Statement(update(versions).values(note=bindparam("note")).where(_OF_NAME, _OF_VERSION))
LIST_VERSIONS: Final = Statement(
    select(
        versions.c.version,
        versions.c.created_us,
        versions.c.note,
        versions.c.active,
        func.length(versions.c.state),
        versions.c.activated_us,
    )
    .where(_OF_NAME)
    .order_by(versions.c.version.desc())
)
ACTIVE_VERSION: Final = Statement(select(versions.c.version).where(_OF_NAME, versions.c.active == 1))
ACTIVE_STATE: Final = Statement(select(versions.c.version, versions.c.state).where(_OF_NAME, versions.c.active == 1))
STATE_OF_VERSION: Final = Statement(select(versions.c.version, versions.c.state).where(_OF_NAME, _OF_VERSION))
NAMES_OF_VERSIONS: Final = Statement(
    select(versions.c.name).distinct().where(versions.c.kind == bindparam("of_kind")).order_by(versions.c.name)
)
