"""The hot statements of the semantic cache."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import bindparam, case, delete, func, literal_column, select, update

from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import semantic_counts, semantic_entries, semantic_evidence

_entry, _evidence, _counts = semantic_entries.c, semantic_evidence.c, semantic_counts.c
_zero: Any = literal_column("0")

ENTRY_COLUMNS: Final = tuple(name for name in _entry.keys() if name not in ("id", "hits"))  # noqa: SIM118 - not a dict
# The columns of an answer as it is served.
SERVED: Final = (
    _entry.id,
    _entry.key,
    _entry.question,
    _entry.answer,
    _entry.payload,
    _entry.namespace,
    _entry.model,
    _entry.provider,
    _entry.metadata,
    _entry.usage,
    _entry.created_us,
    _entry.expires_us,
)

ADD_ENTRY: Final = Statement(
    lambda insert: (
        insert(semantic_entries)
        .values({name: bindparam(name) for name in ENTRY_COLUMNS} | {"hits": _zero})
        .on_conflict_do_nothing(index_elements=["key"])
        .returning(_entry.id)
    )
)
# A new answer gets a new number, by which other processes learn of it.
REMOVE_BY_KEY: Final = Statement(delete(semantic_entries).where(_entry.key == bindparam("of_key")))
GET_BY_KEY: Final = Statement(select(*SERVED).where(_entry.key == bindparam("of_key")))
GET_BY_ID: Final = Statement(select(*SERVED).where(_entry.id == bindparam("of_id")))
# What a process has not seen yet of a scope.
NEW_IN_SCOPE: Final = Statement(
    select(_entry.id, _entry.question, _entry.answer_class, _entry.was_right, _entry.vector)
    .where(_entry.scope == bindparam("of_scope"), _entry.id > bindparam("after_id"))
    .order_by(_entry.id)
    .limit(bindparam("most"))
    .offset(_zero)
)
KNOWN_IN_SCOPE: Final = Statement(
    select(_entry.id, _entry.question, _entry.answer_class, _entry.was_right)
    .where(_entry.scope == bindparam("of_scope"), _entry.id > bindparam("after_id"), _entry.id <= bindparam("until_id"))
    .order_by(_entry.id)
    .limit(bindparam("most"))
    .offset(_zero)
)
NEW_QUESTIONS_IN_SCOPE: Final = Statement(
    select(_entry.id, _entry.question)
    .where(_entry.scope == bindparam("of_scope"), _entry.id > bindparam("after_id"))
    .order_by(_entry.id)
    .limit(bindparam("most"))
    .offset(_zero)
)
NEWEST_ENTRIES: Final = Statement(
    select(_entry.scope, _entry.question, _entry.model, _entry.user)
    .where(_entry.namespace == bindparam("of_namespace"), _entry.space == bindparam("of_space"))
    .order_by(_entry.id.desc())
    .limit(bindparam("most"))
    .offset(_zero)
)
COUNT_IN_SCOPE: Final = Statement(select(func.count()).where(_entry.scope == bindparam("of_scope"), _entry.id <= bindparam("until_id")))
COUNT_USE: Final = Statement(
    update(semantic_entries)
    .values(
        hits=_entry.hits + bindparam("uses"),
        used_us=case((_entry.used_us < bindparam("used_us"), bindparam("used_us")), else_=_entry.used_us),
    )
    .where(_entry.id == bindparam("of_id"))
)
NAMESPACE_OF: Final = Statement(select(_entry.namespace).where(_entry.id == bindparam("of_id")))
REMOVE_ENTRY: Final = Statement(delete(semantic_entries).where(_entry.id == bindparam("of_id")).returning(_entry.key))

NAMESPACES_WITH_EXPIRED: Final = Statement(select(_entry.namespace).distinct().where(_entry.expires_us <= bindparam("now_us")))


def _victims(*conditions: Any, order: tuple[Any, ...] = ()) -> Statement:
    return Statement(
        select(_entry.key, _entry.namespace, _entry.size_bytes, _entry.hits)
        .where(_entry.namespace == bindparam("namespace"), _entry.key != bindparam("kept_key"), *conditions)
        .order_by(*order)
        .limit(bindparam("most"))
        .offset(_zero)
        .with_for_update(skip_locked=True)
    )


EXPIRED_VICTIMS: Final = _victims(_entry.expires_us <= bindparam("now_us"))
# Which live entries go first, by the name of the eviction policy.
VICTIMS: Final = {
    "lru": _victims(order=(_entry.used_us,)),
    "lfu": _victims(order=(_entry.hits, _entry.used_us)),
}

ADD_EVIDENCE: Final = Statement(
    lambda insert: insert(semantic_evidence).values(
        {name: bindparam(name) for name in ("namespace", "space", "features", "was_right", "weight", "checked", "at_us")}
    )
)
NEW_EVIDENCE: Final = Statement(
    select(_evidence.id, _evidence.features, _evidence.was_right, _evidence.weight, _evidence.checked)
    .where(_evidence.namespace == bindparam("namespace"), _evidence.space == bindparam("space"), _evidence.id > bindparam("after_id"))
    .order_by(_evidence.id.desc())
    .limit(bindparam("most"))
    .offset(_zero)
)
OLD_EVIDENCE: Final = Statement(
    select(_evidence.id)
    .where(_evidence.namespace == bindparam("namespace"), _evidence.space == bindparam("space"))
    .order_by(_evidence.id.desc())
    .limit(literal_column("1"))
    .offset(bindparam("kept"))
)
REMOVE_EVIDENCE: Final = Statement(
    delete(semantic_evidence).where(
        _evidence.namespace == bindparam("namespace"), _evidence.space == bindparam("space"), _evidence.id <= bindparam("until_id")
    )
)

COUNT_NAMES: Final = tuple(name for name in _counts.keys() if name not in ("namespace", "space", "day", "risk"))  # noqa: SIM118
ADD_COUNTS: Final = Statement(
    lambda insert: (
        insert(semantic_counts)
        .values({name: bindparam(name) for name in ("namespace", "space", "day", "risk", *COUNT_NAMES)})
        .on_conflict_do_update(
            index_elements=["namespace", "space", "day"],
            set_={name: _counts[name] + insert(semantic_counts).excluded[name] for name in COUNT_NAMES}
            | {"risk": insert(semantic_counts).excluded.risk},
        )
    )
)
GET_COUNTS: Final = Statement(
    select(_counts.day, _counts.risk, *(_counts[name] for name in COUNT_NAMES))
    .where(_counts.namespace == bindparam("namespace"), _counts.space == bindparam("space"))
    .order_by(_counts.day)
)
