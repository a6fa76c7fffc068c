"""The statements of the versions of routers."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, case, func, select, update

from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import router_versions as versions

_OF_NAME: Final = versions.c.name == bindparam("of_name")
_OF_VERSION: Final = versions.c.version == bindparam("of_version")

# On PostgreSQL the rows stay locked until the transaction ends; on SQLite a transaction that writes is alone.
LOCK_VERSIONS: Final = Statement(
    select(versions.c.version, versions.c.active).where(_OF_NAME).order_by(versions.c.version).with_for_update()
)
ADD_VERSION: Final = Statement(
    lambda insert: (
        insert(versions)
        .values({name: bindparam(name) for name in ("name", "version", "state", "created_us", "note")} | {"active": 0})
        .on_conflict_do_nothing(index_elements=["name", "version"])
    )
)
USE_VERSION: Final = Statement(update(versions).values(active=case((_OF_VERSION, 1), else_=0)).where(_OF_NAME))
LIST_VERSIONS: Final = Statement(
    select(versions.c.version, versions.c.created_us, versions.c.note, versions.c.active, func.length(versions.c.state))
    .where(_OF_NAME)
    .order_by(versions.c.version.desc())
)
ACTIVE_STATE: Final = Statement(select(versions.c.version, versions.c.state).where(_OF_NAME, versions.c.active == 1))
STATE_OF_VERSION: Final = Statement(select(versions.c.version, versions.c.state).where(_OF_NAME, _OF_VERSION))
NAMES_OF_ROUTERS: Final = Statement(select(versions.c.name).distinct().order_by(versions.c.name))
