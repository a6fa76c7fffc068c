"""The hot statements of the cache."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import bindparam, case, delete, literal_column, select, update

from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import cache_entries, cache_epoch, cache_labels

_entry = cache_entries.c
_one: Any = literal_column("1")
_zero: Any = literal_column("0")

# Raised whenever a live entry is removed or replaced.
GET_EPOCH: Final = Statement(select(cache_epoch.c.epoch).where(cache_epoch.c.id == _one))
RAISE_EPOCH: Final = Statement(
    lambda insert: (
        insert(cache_epoch)
        .values(id=_one, epoch=_one)
        .on_conflict_do_update(index_elements=["id"], set_={"epoch": cache_epoch.c.epoch + _one})
    )
)

# The epoch comes with the row, from one snapshot: memory may keep the row only if it knows of no later epoch.
GET_ENTRY: Final = Statement(
    select(
        _entry.namespace,
        _entry.model,
        _entry.provider,
        _entry.metadata,
        _entry.payload,
        _entry.usage,
        _entry.created_us,
        _entry.expires_us,
        select(cache_epoch.c.epoch).where(cache_epoch.c.id == _one).scalar_subquery(),
    ).where(_entry.key == bindparam("of_key"))
)

ENTRY_COLUMNS: Final = (
    "key", "namespace", "model", "provider", "user", "feature", "prompt_version", "metadata",
    "payload", "usage", "size_bytes", "created_us", "expires_us", "used_us",
)  # fmt: skip
ADD_ENTRY: Final = Statement(
    lambda insert: (
        insert(cache_entries)
        .values({name: bindparam(name) for name in ENTRY_COLUMNS} | {"hits": _zero})
        .on_conflict_do_nothing(index_elements=["key"])
    )
)
# The hits stay: they say how often the question is asked, which the least frequently used order goes by.
REPLACE_ENTRY: Final = Statement(
    update(cache_entries).values({name: bindparam(name) for name in ENTRY_COLUMNS[1:]}).where(_entry.key == bindparam("of_key"))
)
GET_EXPIRY: Final = Statement(select(_entry.expires_us).where(_entry.key == bindparam("of_key")).with_for_update())
# Another process may have told of a later use already.
COUNT_USES: Final = Statement(
    update(cache_entries)
    .values(
        hits=_entry.hits + bindparam("uses"),
        used_us=case((_entry.used_us < bindparam("used_us"), bindparam("used_us")), else_=_entry.used_us),
    )
    .where(_entry.key == bindparam("of_key"))
)

ADD_LABEL: Final = Statement(
    lambda insert: (
        insert(cache_labels)
        .values(kind=bindparam("kind"), value=bindparam("value"), key=bindparam("key"))
        .on_conflict_do_nothing(index_elements=["kind", "value", "key"])
    )
)
REMOVE_ENTRY: Final = Statement(delete(cache_entries).where(_entry.key == bindparam("of_key")))
REMOVE_LABELS: Final = Statement(delete(cache_labels).where(cache_labels.c.key == bindparam("of_key")))

NAMESPACES_WITH_EXPIRED: Final = Statement(select(_entry.namespace).distinct().where(_entry.expires_us <= bindparam("now_us")))


def _victims(namespace: Any, *conditions: Any, order: tuple[Any, ...] = ()) -> Statement:
    return Statement(
        select(_entry.key, _entry.namespace, _entry.size_bytes, _entry.hits)
        .where(namespace == bindparam("namespace"), _entry.key != bindparam("kept_key"), *conditions)
        .order_by(*order)
        .limit(bindparam("most"))
        .offset(_zero)  # SQLAlchemy writes one for SQLite in any case, as a parameter unless it is given
        .with_for_update(skip_locked=True)
    )


# The expression keeps planners from reading the whole namespace by its index: the few expired entries have one of their own.
EXPIRED_VICTIMS: Final = _victims(_entry.namespace.concat(literal_column("''")), _entry.expires_us <= bindparam("now_us"))
# Which live entries go first, by the name of the eviction policy.
VICTIMS: Final = {
    "lru": _victims(_entry.namespace, order=(_entry.used_us,)),
    "lfu": _victims(_entry.namespace, order=(_entry.hits, _entry.used_us)),
}
