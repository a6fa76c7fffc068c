"""The call that an answer is of: found by the ids that applications have of it, or by the answer itself.

An answer is known by the mark of llmthrift, by LangChain's run id and by the ids of the message and of the provider's response.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import Connection, bindparam, select

from llmthrift_core.errors import UnknownCallError
from llmthrift_core.ledger.ids import ids_in
from llmthrift_core.ledger.repair import clean_name
from llmthrift_core.storage.tables import calls, other_costs

if TYPE_CHECKING:
    from llmthrift_core.storage.database import Database

_MARK: Final = "llmthrift"
_PARAMETERS: Final = (("first", ""), *((f"attempt_{number}", f":{number}") for number in range(2, 32)))
"""A call of several attempts has a row for each: "id", "id:2", ..."""
# Made once: making, hashing and expanding them would take longer than the database does.
_BY_ID: Final = select(calls.c.request_id).where(calls.c.request_id == bindparam("name"))
_BY_ATTEMPT: Final = select(calls.c.error, calls.c.attempt, calls.c.request_id).where(
    calls.c.request_id.in_([bindparam(parameter) for parameter, _ in _PARAMETERS])
)
_BY_OTHER_ID: Final = tuple(
    select(calls.c.request_id).where(column == bindparam("name")).order_by(calls.c.id.desc()).limit(1)
    for column in (calls.c.response_id, calls.c.message_id)
)
_OF_OTHER_COST: Final = select(other_costs.c.request_id).where(other_costs.c.request_id == bindparam("name"))


def request_of(database: Database, answer: object) -> str:
    """The request id of the row of an answer.

    Args:
        answer: a request id; a run id, as text or UUID; the id of a message or of a provider's response; the mark of llmthrift; or what
            a model of LangChain or LlamaIndex answered. Attempts that failed are passed over where a run is named.

    Raises:
        UnknownCallError: no call of this ledger is known by it.
        StorageError: the database cannot be read.
    """
    names = list(dict.fromkeys(_names(answer)))
    with database.read() as connection:
        for name, is_mark in names:
            if (found := _find(connection, clean_name(name), is_exact=is_mark)) is not None:
                return found
    raise UnknownCallError(answer if isinstance(answer, str | UUID) else type(answer).__name__, [name for name, _ in names])


def _names(answer: Any) -> Iterator[tuple[str, bool]]:
    """The names of an answer, the surest first, each with whether it can be nothing but a request id."""
    if isinstance(answer, UUID):
        yield str(answer), False
    elif isinstance(answer, str):
        yield from ids_in(answer)
    elif isinstance(answer, Mapping):
        if isinstance(identity := answer.get("request_id"), str):
            yield identity, True
        elif isinstance(nested := answer.get(_MARK), Mapping):
            yield from _names(nested)
        elif isinstance(identity := answer.get("id"), str):  # a provider's response, or a message as a mapping
            yield from ids_in(identity)
    elif answer is not None:
        yield from _names_of_object(answer)


def _names_of_object(answer: Any) -> Iterator[tuple[str, bool]]:
    """Of a message, a generation, or a response of LlamaIndex or of a provider's own client."""
    message, raw = getattr(answer, "message", None), getattr(answer, "raw", None)
    for each in (answer, message):
        for name in ("response_metadata", "additional_kwargs"):
            mark = told.get(_MARK) if isinstance(told := getattr(each, name, None), Mapping) else None
            if isinstance(mark, Mapping):
                yield from _names(mark)
    for each in (answer, message, getattr(answer, "response_metadata", None), getattr(message, "response_metadata", None), raw):
        identity = each.get("id") if isinstance(each, Mapping) else getattr(each, "id", None)
        if isinstance(identity, str):
            yield from ids_in(identity)


def _find(connection: Connection, name: str | None, *, is_exact: bool) -> str | None:
    if not name:
        return None
    if is_exact:
        return connection.execute(_BY_ID, {"name": name}).scalar()
    # The answer is that of the last attempt that did not fail.
    rows = connection.execute(_BY_ATTEMPT, {parameter: f"{name}{attempt}" for parameter, attempt in _PARAMETERS}).all()
    if rows:
        best: str = max((error is None, attempt, request_id) for error, attempt, request_id in rows)[-1]
        return best
    for statement in (*_BY_OTHER_ID, _OF_OTHER_COST):
        found: str | None = connection.execute(statement, {"name": name}).scalar()
        if found is not None:
            return found
    return None
