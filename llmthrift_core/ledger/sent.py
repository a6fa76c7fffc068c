"""Prompts that were sent, with their text where it is stored."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, func, select

from llmthrift_core.ledger.judged import BY_APPLICATION, within
from llmthrift_core.lexical import messages_of_text
from llmthrift_core.storage.tables import adjustments, calls, captures, run_of_calls

_ROLES: Final = {"human": "user", "HumanMessageChunk": "user", "ai": "assistant", "model": "assistant", "chatbot": "assistant"}


class SentCall(NamedTuple):
    """A call that reached a model and was answered.

    Attributes:
        prompt, answer: their texts; None where they are not stored.
        input_cost_nano_usd: of all input as it was billed; None: unpriced.
        tools_sent, tools_called: as `ledger.tools` writes them.
    """

    request_id: str
    at_us: int
    model: str
    provider: str | None
    call_site: str | None
    prompt: str | None
    answer: str | None
    prompt_chars: int | None
    system_chars: int | None
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    shortened_tokens: int
    input_cost_nano_usd: int | None
    tools_sent: str | None = None
    tools_called: str | None = None

    def messages(self) -> list[dict[str, Any]]:
        """The stored prompt in OpenAI's shape; tool calls are not stored."""
        return [{"role": _ROLES.get(role, role), "content": text} for role, text in messages_of_text(self.prompt or "")]


def read_sent(
    connection: Connection,
    *,
    since_us: int | None = None,
    until_us: int | None = None,
    call_site: str | None = None,
    request_id: str | None = None,
    run: str | None = None,
    with_text: bool = False,
    limit: int,
) -> list[SentCall]:
    """The newest calls of the application, the oldest of them first, without hits and failures.

    Args:
        call_site: this one's alone.
        request_id: this one alone.
        run: of this run alone, by its name or its trace.
        with_text: only those whose prompt is stored.
    """
    cost = func.coalesce(calls.c.input_cost_nano_usd, adjustments.c.input_cost_nano_usd)
    fields = [
        captures.c.prompt
        if name == "prompt"
        else captures.c.answer
        if name == "answer"
        else cost
        if name.startswith("input_cost")
        else calls.c[name]
        for name in SentCall._fields
    ]
    query = (
        select(*fields)
        .select_from(
            calls.outerjoin(captures, captures.c.request_id == calls.c.request_id).outerjoin(
                adjustments, adjustments.c.request_id == calls.c.request_id
            )
        )
        .where(*within(since_us, until_us), BY_APPLICATION, calls.c.error.is_(None), calls.c.cache.is_(None))
        .order_by(calls.c.id.desc())
        .limit(limit)
    )
    if call_site is not None:
        query = query.where(calls.c.call_site == call_site)
    if request_id is not None:
        query = query.where(calls.c.request_id == request_id)
    if run is not None:
        query = query.where(run_of_calls == run)
    if with_text:
        query = query.where(captures.c.prompt.is_not(None))
    return [SentCall._make(row) for row in connection.execute(query).all()][::-1]
