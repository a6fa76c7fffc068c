"""The tables of vectors on PostgreSQL, and the hot statements that search them with pgvector."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Select,
    Table,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    literal_column,
    select,
    union_all,
)
from sqlalchemy.types import UserDefinedType

from llmthrift_core.cache.semantic.statements import ENTRY_COLUMNS, SERVED
from llmthrift_core.storage.statements import DialectInsert, Statement
from llmthrift_core.storage.tables import cache_labels, semantic_entries
from llmthrift_core.storage.vectors import TABLE_PREFIX, HalfVector

GRAPH_PREFIX: Final = "llmthrift_graph_"
# Graphs of earlier releases were made with an expansion of 128, in twice the time; those of 64 find the near entries as well.
_CONNECTIVITY, _EXPANSION_ADD, _EXPANSION_SEARCH = 16, 64, 40
_NEAREST: Any = literal_column("16")  # a constant: with a parameter the server plans every search anew
_MAKING_GRAPH: Any = literal_column("5247810624")  # an arbitrary number, of this purpose alone
_entry = semantic_entries.c
_zero: Any = literal_column("0")
_one: Any = literal_column("1")
_COLUMNS: Final = ["id", "scope", "embedding"]
# Whoever makes a graph keeps others from moving vectors, for minutes: they try, and go on without. Both last for the transaction.
MAY_MAKE_GRAPH: Final = Statement(select(func.pg_try_advisory_xact_lock(_MAKING_GRAPH)))
MAY_MOVE: Final = Statement(select(func.pg_try_advisory_xact_lock_shared(_MAKING_GRAPH)))


class _TextArray(UserDefinedType[list[str]]):
    """PostgreSQL's type, for statements that are compiled for SQLite too, if only to learn the order of their parameters."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "text[]"


class VectorTable:
    """The tables for vectors of so many dimensions, and their statements.

    Scopes of any size lie in `table` together. A graph over all of them would lose entries of small scopes: its search ends after so many
    vectors of others (recall 0.64 in a scope with 1,000 of 100,000 vectors). So a small scope is found by a B-tree and compared one by
    one, and a large one has a graph of its own: a partial index.

    To add a vector to a graph takes the server some milliseconds, for which no caller waits: what is new is added to `recent`, whose
    vectors every search compares one by one, and moved from there later. One statement sees a vector in one of the two, never in both
    or neither.
    """

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self.table = self._made(f"{TABLE_PREFIX}{dimensions}")
        self.recent = self._made(f"{TABLE_PREFIX}{dimensions}_recent")
        column, recent = self.table.c, self.recent.c
        self._given: ColumnElement[Any] = cast(bindparam("embedding"), HalfVector(dimensions))
        self.add: Final = Statement(lambda insert: self._vector_of_entry(insert, self.table))
        self.add_recent: Final = Statement(lambda insert: self._vector_of_entry(insert, self.recent))
        # An entry of a key that is not there yet, with its labels and its vector: one round trip. No row where the key is there.
        self.add_entry: Final = Statement(self._whole_entry)
        # Rows that others move or remove at this moment are passed over. An entry is locked before its vector, as whoever removes it does.
        self.move: Final = Statement(self._moved)
        both = union_all(
            select(column.id).where(column.scope == bindparam("of_scope")), select(recent.id).where(recent.scope == bindparam("of_scope"))
        ).subquery()
        self.count: Final = Statement(select(func.count()).select_from(both))
        self.count_recent: Final = Statement(select(func.count()).where(recent.scope == bindparam("of_scope")))
        # Entries that an older release stored, or this one while the server had no pgvector.
        self.missing: Final = Statement(
            select(_entry.id, _entry.vector)
            .where(
                _entry.scope == bindparam("of_scope"),
                _entry.id > bindparam("after_id"),
                func.octet_length(_entry.vector) == literal_column(str(4 * dimensions)),
                ~exists().where(column.id == _entry.id),
                ~exists().where(recent.id == _entry.id),
            )
            .order_by(_entry.id)
            .limit(bindparam("most"))
            .offset(_zero)
        )
        # The sum keeps the planner from a graph, which serves bare distances only.
        distance = (column.embedding.op("<=>")(self._given) + literal_column("0")).label("distance")
        self.nearest: Final = Statement(
            self._nearest(select(column.id, distance).where(column.scope == bindparam("of_scope")).order_by(distance))
        )

    def graph(self, scope: bytes) -> Index:
        """The index of a large scope."""
        table = self.table.to_metadata(MetaData())  # else every index would be kept with the table
        return Index(
            self.graph_name(scope),
            table.c.embedding,
            postgresql_using="hnsw",
            postgresql_ops={"embedding": "halfvec_cosine_ops"},
            postgresql_with={"m": _CONNECTIVITY, "ef_construction": _EXPANSION_ADD},
            postgresql_where=self._is_of(scope),
        )

    def graph_name(self, scope: bytes) -> str:
        """The name of that index, which ends with the scope's digest."""
        return f"{GRAPH_PREFIX}{self.dimensions}_{scope.hex()}"

    def nearest_by_graph(self, scope: bytes) -> Statement:
        """As `nearest`, but of one scope, by its graph."""
        # The scan goes on where entries were removed, and its order, which may be a little off then, does not matter.
        settings = _with_settings({"hnsw.ef_search": str(_EXPANSION_SEARCH), "hnsw.iterative_scan": "relaxed_order"})
        distance = self.table.c.embedding.op("<=>")(self._given).label("distance")
        query = select(self.table.c.id, distance).where(self._is_of(scope), settings)
        return Statement(self._nearest(query.order_by(distance)))

    def _is_of(self, scope: bytes) -> ColumnElement[bool]:
        # A constant, since a prepared statement's parameters are unknown when the planner looks for partial indexes. An expression, since
        # without statistics it would take the B-tree of scopes, and sort.
        return self.table.c.scope.concat(literal_column("''::bytea")) == literal_column(f"'\\x{scope.hex()}'::bytea")

    def _nearest(self, query: Select[Any]) -> Select[Any]:
        recent = self.recent.c
        distance = (recent.embedding.op("<=>")(self._given)).label("distance")
        added = select(recent.id, distance).where(recent.scope == bindparam("of_scope")).order_by(distance)
        found = union_all(*(select(part.limit(_NEAREST).subquery()) for part in (query, added))).subquery()
        rank = func.row_number().over(order_by=found.c.distance).label("rank")
        near = select(found.c.id, found.c.distance, rank).order_by(found.c.distance).limit(_NEAREST).subquery("near")
        # Of the nearest alone the answer is read.
        served = [
            column if column.name in ("id", "question") else case((near.c.rank == _one, column)).label(column.name) for column in SERVED
        ]
        return (
            select(near.c.distance, _entry.answer_class, _entry.was_right, *served)
            .select_from(near.join(semantic_entries, _entry.id == near.c.id))
            .order_by(near.c.distance)
        )

    def _vector_of_entry(self, insert: DialectInsert, table: Table) -> Any:
        # The scope comes from the entry; nothing is added for an entry that is gone.
        found = select(_entry.id, _entry.scope, self._given).where(_entry.id == bindparam("of_id"))
        return insert(table).from_select(_COLUMNS, found).on_conflict_do_nothing(index_elements=["id"])

    def _whole_entry(self, insert: DialectInsert) -> Any:
        added = insert(semantic_entries).values({name: bindparam(name) for name in ENTRY_COLUMNS} | {"hits": _zero})
        added = added.on_conflict_do_nothing(index_elements=["key"]).returning(_entry.id, _entry.scope, _entry.key).cte("added")
        vector = insert(self.recent).from_select(_COLUMNS, select(added.c.id, added.c.scope, self._given)).cte("vector")
        given = func.unnest(*(cast(bindparam(name), _TextArray()) for name in ("kinds", "labels"))).table_valued("kind", "value")
        given = given.render_derived("given")
        labels = insert(cache_labels).from_select(["kind", "value", "key"], select(given.c.kind, given.c.value, added.c.key))
        # An answer is a copy of what a model gave: nobody waits for the server's disk. It is seen by all at once, and a removal, which
        # does wait, is written after it.
        added_now = select(added.c.id).where(_with_settings({"synchronous_commit": "off"}))
        return added_now.add_cte(vector, labels.on_conflict_do_nothing().cte("labelled"))

    def _moved(self, insert: DialectInsert) -> Any:
        chosen = (
            select(self.recent.c.id)
            .join(semantic_entries, _entry.id == self.recent.c.id)
            .where(self.recent.c.scope == bindparam("of_scope"))
            .order_by(self.recent.c.id)
            .limit(bindparam("most"))
            .offset(_zero)
            .with_for_update(read=True, key_share=True, skip_locked=True, of=semantic_entries)
        )
        gone = delete(self.recent).where(self.recent.c.id.in_(chosen)).returning(*(self.recent.c[name] for name in _COLUMNS)).cte("gone")
        return insert(self.table).from_select(_COLUMNS, select(*(gone.c[name] for name in _COLUMNS))).on_conflict_do_nothing()

    def _made(self, name: str) -> Table:
        return Table(
            name,
            MetaData(),
            Column("id", BigInteger, ForeignKey(_entry.id, ondelete="CASCADE"), primary_key=True, autoincrement=False),
            Column("scope", LargeBinary, nullable=False),
            Column("embedding", HalfVector(self.dimensions), nullable=False),
            Index(f"ix_{name}_scope", "scope"),
        )


def _with_settings(values: dict[str, str]) -> ColumnElement[bool]:
    """True, with the server's settings as given until the statement ends.

    A sub-query that depends on no row is evaluated before the others.
    """
    made = [func.set_config(*(literal_column(f"'{part}'") for part in each), literal_column("true")) for each in values.items()]
    return select(func.concat(*made)).scalar_subquery().is_not(None)


@lru_cache(maxsize=64)
def vector_table(dimensions: int) -> VectorTable:
    """The table for vectors of so many dimensions."""
    return VectorTable(dimensions)
