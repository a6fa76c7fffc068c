"""Sessions, runs and tags that are one user's alone: names that tell of that user where no user is named."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, func, or_, select

from llmthrift_core.ledger.rollups import DAY
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.tables import calls, other_costs, rollups

_MOST_NAMES: Final = 500  # in one statement
# A trace stands for a run that is not named.
_RUNS: Final = (calls.c.run, calls.c.trace_id, other_costs.c.run, other_costs.c.trace_id)

# The values by the name of their attribute or tag.
Names = Mapping[str, frozenset[str]]


def names_only_of(database: Database, user: str) -> Names:
    """The sessions, runs and tags of a user's rows that nobody else's row has, nor one that was deleted for its age.

    Reads all rows: call it before the user's rows are cleared.

    Raises:
        StorageError: the database cannot be read.
    """
    with database.read() as connection:
        counted, runs = _names_of(connection, user)
        found = {"run": runs - set(_of_others(connection, user, _RUNS, runs))}
        for name, counts in counted.items():
            dimension = name if name == "session" else f"tag:{name}"
            kept = {value for value, count in _attempts(connection, dimension, sorted(counts)) if count > counts[value]}
            found[name] = set(counts) - kept
        found["session"] -= set(_of_others(connection, user, [other_costs.c.session], found["session"]))
    return {name: frozenset(values) for name, values in found.items() if values}


def _names_of(connection: Connection, user: str) -> tuple[dict[str, Counter[str]], set[str]]:
    """How many of a user's calls have each session and tag; the runs."""
    counted: dict[str, Counter[str]] = defaultdict(Counter, session=Counter())
    runs: set[str] = set()
    of_calls = select(calls.c.session, calls.c.tags, calls.c.run, calls.c.trace_id, func.count())
    of_costs = select(other_costs.c.session, other_costs.c.tags, other_costs.c.run, other_costs.c.trace_id, func.count())
    for table, query in ((calls, of_calls), (other_costs, of_costs)):
        columns = list(query.selected_columns)[:4]
        for session, tags, run, trace, count in connection.execute(query.where(table.c.user == user).group_by(*columns)):
            rows = count if table is calls else 0  # sums count calls only
            if session is not None:
                counted["session"][session] += rows
            for name, value in json.loads(tags).items() if tags else ():
                counted[name][value] += rows
            runs.update(name for name in (run, trace) if name is not None)
    return counted, runs


def _attempts(connection: Connection, dimension: str, values: Sequence[str]) -> Iterator[tuple[str, int]]:
    for some in _some(values):
        query = select(rollups.c.value, func.sum(rollups.c.attempts)).group_by(rollups.c.value)
        where = (rollups.c.dimension == dimension, rollups.c.span == DAY, rollups.c.value.in_(some))
        yield from ((value, int(count)) for value, count in connection.execute(query.where(*where)))


def _of_others(connection: Connection, user: str, columns: Sequence[ColumnElement[str]], values: set[str]) -> Iterator[str]:
    for column in columns:
        theirs = column.table.c.user
        for some in _some(sorted(values)):
            query = select(column).distinct().where(column.in_(some), or_(theirs.is_(None), theirs != user))
            yield from connection.execute(query).scalars()


def _some(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _MOST_NAMES):
        yield values[start : start + _MOST_NAMES]
