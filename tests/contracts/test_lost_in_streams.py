"""Clients keep less of a stream than decides its price, or say it again. What they lose is concluded from what was asked, else the row is
marked.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from decimal import Decimal
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from llama_index.core.base.llms.types import CacheControl, CachePoint, ChatMessage, TextBlock

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Thrift
from tests.contracts import canned
from tests.contracts.canned import Reply, served
from tests.contracts.doors import uninstall_handlers
from tests.contracts.test_usage import (
    ANTHROPIC,
    BEDROCK,
    BOTH,
    CLAUDE,
    HELD,
    KEPT,
    LANGCHAIN,
    LIFETIMES,
    OPUS,
    SONNET,
    anthropic,
    counted,
    google,
    google_counts,
    openai,
    through,
)
from tests.core.outgoing.pictures import wav

pytestmark = [pytest.mark.loopback, pytest.mark.filterwarnings("ignore")]  # the clients' own warnings

AN_HOUR, MINUTES = "1h", "5m"
UNTOLD = {name: count for name, count in KEPT.items() if name != "cache_creation"}  # as the last event of a stream has it
REGIONAL = f"us.anthropic.{SONNET}-v1:0"


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    uninstall_handlers()


def marked(*lifetimes: str) -> list[Any]:
    """LangChain's messages, each with a mark for Anthropic's cache."""
    marks = [{"type": "ephemeral", **({"ttl": AN_HOUR} if lifetime == AN_HOUR else {})} for lifetime in lifetimes]
    return [SystemMessage([text("Be brief.", marks[0])]), HumanMessage([text("How are you?", marks[-1])])]


def text(said: str, mark: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, "cache_control": mark}


def pointed(*lifetimes: str) -> list[Any]:
    """LangChain's messages, each with a cache point for Bedrock."""
    points = [{"cachePoint": {"type": "default", "ttl": lifetime}} for lifetime in lifetimes]
    return [
        SystemMessage([{"type": "text", "text": "Be brief."}, points[0]]),
        HumanMessage([{"type": "text", "text": "How are you?"}, points[-1]]),
    ]


def blocks(*lifetimes: str) -> list[Any]:
    """The same for LlamaIndex."""
    points = [CachePoint(cache_control=CacheControl(type="ephemeral", ttl=lifetime)) for lifetime in lifetimes]
    return [
        ChatMessage(role="system", blocks=[TextBlock(text="Be brief."), points[0]]),
        ChatMessage(role="user", blocks=[TextBlock(text="How are you?"), points[-1]]),
    ]


def row_of(door: str, how: str, client: Callable[[str, str], Any], model: str, reply: Reply, messages: list[Any], **options: Any) -> Any:
    """The row of a call with messages of its own."""
    thrift = Thrift(":memory:")
    with served(reply) as url:
        made = client(url, model)
        asked = lc.thrifty(made, thrift) if door == "thrifty" else li.thrifty(made, thrift) if door == "llama thrifty" else made
        given = ({"callbacks": [lc.ThriftCallbackHandler(thrift)]},) if door == "handler" else ()
        with li.ThriftEventHandler(thrift) if door == "llama handler" else nullcontext():
            if how == "whole":
                (asked.invoke if door in LANGCHAIN else asked.chat)(messages, *given, **options)
            elif how == "stream":
                list((asked.stream if door in LANGCHAIN else asked.stream_chat)(messages, *given, **options))
            else:
                asyncio.run(_read(asked, messages, given, is_langchain=door in LANGCHAIN))
    thrift.flush()
    (row,) = thrift.ledger.calls()
    return row


async def _read(asked: Any, messages: list[Any], given: tuple[Any, ...], *, is_langchain: bool) -> None:
    stream = asked.astream(messages, *given) if is_langchain else await asked.astream_chat(messages)
    async for _ in stream:
        pass


BEDROCK_DOORS = [(client, door) for client, doors in BEDROCK for door in doors]
DOORS = [(client, door) for client, doors in ANTHROPIC for door in doors]


@pytest.mark.parametrize("how", ["stream", "astream"])
@pytest.mark.parametrize(("client", "door"), DOORS, ids=[door for _, door in DOORS])
def test_what_anthropic_wrote_is_kept_as_long_as_was_asked(client: Any, door: str, how: str) -> None:
    reply = canned.messages_stream(KEPT | {"output_tokens": 1}, UNTOLD, SONNET)
    messages = marked if door in LANGCHAIN else blocks
    # 10 x 3 + 4,000 x 0.3 + 1,000 x 6 (five minutes: x 3.75) + 200 x 15
    row = row_of(door, how, client, SONNET, reply, messages(AN_HOUR))
    assert (row.cache_write_1h_tokens, row.cost_usd, row.estimated) == (1_000, Decimal("0.01023"), False)
    row = row_of(door, how, client, SONNET, reply, messages(MINUTES))
    assert (row.cache_write_1h_tokens, row.cost_usd, row.estimated) == (0, Decimal("0.00798"), False)
    assert row_of(door, how, client, SONNET, reply, messages(AN_HOUR, MINUTES)).estimated


@pytest.mark.parametrize(("client", "door"), DOORS, ids=[door for _, door in DOORS])
def test_what_an_answer_tells_counts_more_than_what_was_asked(client: Any, door: str) -> None:
    messages = marked if door in LANGCHAIN else blocks
    row = row_of(door, "whole", client, SONNET, canned.messages(KEPT, SONNET), messages(AN_HOUR))
    assert (row.cache_write_1h_tokens, row.cost_usd, row.estimated) == (600, Decimal("0.00933"), False)


@pytest.mark.parametrize(
    ("client", "door"),
    [(client, door) for client, doors in BEDROCK for door in doors],
    ids=[door for _, doors in BEDROCK for door in doors],
)
def test_bedrock_tells_it_or_was_asked(client: Any, door: str) -> None:
    messages = pointed if door in LANGCHAIN else blocks
    row = row_of(door, "stream", client, REGIONAL, canned.converse_stream(HELD), messages(AN_HOUR))
    assert (row.cache_write_1h_tokens, row.estimated) == (1_000, False)
    row = row_of(door, "stream", client, REGIONAL, canned.converse_stream(HELD | {"cacheDetails": LIFETIMES}), messages(AN_HOUR))
    assert (row.cache_write_1h_tokens, row.estimated) == (600, False)


@pytest.mark.parametrize(("client", "door"), DOORS, ids=[door for _, door in DOORS])
def test_a_stream_that_tells_nothing_of_the_cache_is_marked_where_one_was_asked_for(client: Any, door: str) -> None:
    messages = marked if door in LANGCHAIN else blocks
    reply = canned.messages_stream(KEPT | {"output_tokens": 1}, {"output_tokens": 200}, SONNET)
    assert row_of(door, "stream", client, SONNET, reply, messages(MINUTES)).estimated


def test_a_fast_stream_costs_what_was_asked() -> None:
    def fast(url: str, model: str) -> Any:
        return pytest.importorskip("langchain_anthropic").ChatAnthropic(
            model=model, base_url=url, api_key="k", max_tokens=100, model_kwargs={"speed": "fast"}, betas=["fast-mode-2026-02-01"]
        )

    for door in LANGCHAIN:
        row = through(door, "stream", fast, OPUS, canned.messages_stream(CLAUDE | {"output_tokens": 1, "speed": "fast"}, CLAUDE, OPUS))
        assert (row.service_tier, row.cost_usd, row.estimated) == ("fast", Decimal("0.06"), True)
        row = through(door, "whole", fast, OPUS, canned.messages(CLAUDE | {"speed": "standard"}, OPUS))
        assert (row.service_tier, row.cost_usd, row.estimated) == (None, Decimal("0.03"), False)
        row = through(door, "stream", anthropic, OPUS, canned.messages_stream(CLAUDE | {"output_tokens": 1}, CLAUDE, OPUS))
        assert (row.service_tier, row.cost_usd, row.estimated) == (None, Decimal("0.03"), False)


@pytest.mark.parametrize("door", LANGCHAIN)
def test_cache_reads_in_other_words_are_marked_where_openai_s_client_drops_them(door: str) -> None:
    hits = counted(36_100, 1_200, prompt_cache_hit_tokens=21_600)
    assert through(door, "stream", openai, "deepseek-chat", canned.chat_stream("deepseek-chat", last=hits)).estimated
    both = hits | {"prompt_tokens_details": {"cached_tokens": 21_600}}
    row = through(door, "stream", openai, "deepseek-chat", canned.chat_stream("deepseek-chat", last=both))
    assert (row.cache_read_tokens, row.estimated) == (21_600, False)


@pytest.mark.parametrize(("client", "door"), [(client, door) for client, doors in BOTH for door in doors])
def test_parts_that_are_alike_are_all_added(client: Any, door: str) -> None:
    part = {"prompt_tokens": 0, "completion_tokens": 1, "total_tokens": 1}
    reply = canned.chat_stream("gpt-4o", each=[counted(2_000, 1), *[part] * 59], pieces=60)
    row = through(door, "stream", client, "gpt-4o", reply)
    assert (row.input_tokens, row.output_tokens, row.cost_usd, row.estimated) == (2_000, 60, Decimal("0.0056"), False)


@pytest.mark.parametrize("how", ["whole", "stream", "astream"])
@pytest.mark.parametrize("door", LANGCHAIN)
def test_audio_that_google_s_client_does_not_tell_from_text_is_billed_as_audio(door: str, how: str) -> None:
    told = google_counts(1_000, 50)
    model = "gemini-2.5-flash"
    reply = canned.gemini(told, model) if how == "whole" else canned.gemini_stream([told], model)
    audio = {"type": "audio", "base64": base64.b64encode(wav(10)).decode(), "mime_type": "audio/wav"}
    row = row_of(door, how, google, model, reply, [HumanMessage([{"type": "text", "text": "What is said?"}, audio])])
    # Google counts 32 tokens for a second: 320 x 1 + 680 x 0.3 + 50 x 2.5
    assert row.input_tokens == 1_000
    assert row.input_audio_tokens == pytest.approx(320, abs=2)
    assert float(row.cost_usd) == pytest.approx(0.000649, rel=0.01)
    assert row.estimated
    row = row_of(door, how, google, model, reply, [HumanMessage("What is said?")])
    assert (row.input_audio_tokens, row.cost_usd, row.estimated) == (0, Decimal("0.000425"), False)
