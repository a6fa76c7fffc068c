"""Exact cache through LangChain's BaseCache: hit, miss and update beside langchain-community's SQLiteCache, diskcache and raw sqlite3.

python -m benchmarks.cache
"""

from __future__ import annotations

import sqlite3
import tempfile
import warnings
from contextlib import ExitStack, closing
from pathlib import Path

from langchain_core.load import dumps
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from benchmarks.measure import Timing, compare, table
from llmthrift_core import Thrift
from llmthrift_langchain import ThriftCache

STORED = 2_000
_TEXT = "Please look at the order below and tell the customer in two sentences what happens next. " * 15


def conversation(number: int, turns: int) -> list[BaseMessage]:
    """A prompt of about 1.4 kB, or a history of so many messages."""
    if turns == 1:
        return [SystemMessage("You are a support assistant."), HumanMessage(f"{number}: {_TEXT}")]
    messages: list[BaseMessage] = [SystemMessage("You are a support assistant.")]
    for turn in range(turns // 2):
        messages.append(HumanMessage(f"{number}.{turn}: {_TEXT[:200]}"))
        messages.append(AIMessage(_TEXT[:300], response_metadata={"model_name": "gpt-4o-mini"}, id=f"run-{turn}"))
    return [*messages, HumanMessage("And now?")]


def answer() -> list[ChatGeneration]:
    """A generation as ChatOpenAI makes it."""
    message = AIMessage(
        _TEXT[:400],
        response_metadata={"model_name": "gpt-4o-mini-2024-07-18", "finish_reason": "stop", "model_provider": "openai"},
        usage_metadata={"input_tokens": 300, "output_tokens": 90, "total_tokens": 390},
    )
    return [ChatGeneration(message=message)]


def main() -> None:
    """Measure and print."""
    warnings.simplefilter("ignore")
    for turns, name in ((1, "prompt of 1.4 kB"), (20, "history of 20 messages")):
        for what, timings in measure(turns).items():
            print(table(f"Exact cache, {name}, {what}", ("", "p50", "p99", "SQLiteCache / this"), _rows(timings)))


def measure(turns: int) -> dict[str, dict[str, Timing]]:
    """Hits, misses and updates for prompts of so many messages."""
    from diskcache import Cache as DiskCache
    from langchain_community.cache import SQLiteCache

    llm_string = ChatOpenAI(model="gpt-4o-mini", api_key=SecretStr("none"), temperature=0)._get_llm_string(stop=None)
    generations = answer()
    value = dumps(generations)
    prompts = [dumps(conversation(number, turns)) for number in range(STORED)]
    misses = [dumps(conversation(STORED + number, turns)) for number in range(STORED)]
    select = "SELECT value FROM cache WHERE prompt = ? AND llm = ?"
    insert = "INSERT OR REPLACE INTO cache VALUES (?, ?, ?)"
    options: dict[str, None] = {"ttl_seconds": None, "max_entries": None, "max_bytes": None}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        community = SQLiteCache(f"{folder}/community.db")
        disk = stack.enter_context(DiskCache(f"{folder}/disk"))
        raw = stack.enter_context(closing(_raw(Path(folder) / "raw.db")))
        with Thrift(f"{folder}/thrift.db") as thrift:
            cache = ThriftCache(thrift, **options)
            for prompt in prompts:
                community.update(prompt, llm_string, generations)
                cache.update(prompt, llm_string, generations)
                disk.set((prompt, llm_string), value)
                raw.execute(insert, (prompt, llm_string, value))
        in_memory = ThriftCache(stack.enter_context(Thrift(f"{folder}/thrift.db")), **options)
        # Reopened, and with no room in memory, so that every hit is read from the database.
        cold = ThriftCache(stack.enter_context(Thrift(f"{folder}/thrift.db", cache_memory_entries=1)), **options)
        for prompt in prompts[:500]:
            in_memory.lookup(prompt, llm_string)
        hits = compare(
            {
                "SQLiteCache": lambda n: community.lookup(prompts[n % STORED], llm_string),
                "diskcache": lambda n: disk.get((prompts[n % STORED], llm_string)),
                "raw sqlite3": lambda n: raw.execute(select, (prompts[n % STORED], llm_string)).fetchone(),
                "llmthrift, from the database": lambda n: cold.lookup(prompts[n % STORED], llm_string),
                "llmthrift, from memory": lambda n: in_memory.lookup(prompts[n % 500], llm_string),
            },
            calls=300,
        )
        missed = compare(
            {
                "SQLiteCache": lambda n: community.lookup(misses[n % STORED], llm_string),
                "diskcache": lambda n: disk.get((misses[n % STORED], llm_string)),
                "raw sqlite3": lambda n: raw.execute(select, (misses[n % STORED], llm_string)).fetchone(),
                "llmthrift": lambda n: in_memory.lookup(misses[n % STORED], llm_string),
            },
            calls=300,
        )
        updates = compare(
            {
                "SQLiteCache": lambda n: community.update(misses[n % STORED], llm_string, generations),
                "diskcache": lambda n: disk.set((misses[n % STORED], llm_string), value),
                "raw sqlite3": lambda n: raw.execute(insert, (misses[n % STORED], llm_string, value)),
                "llmthrift": lambda n: in_memory.update(misses[n % STORED], llm_string, generations),
            },
            calls=150,
        )
    return {"hit": hits, "miss": missed, "update": updates}


def _rows(timings: dict[str, Timing]) -> list[tuple[str, ...]]:
    base = timings["SQLiteCache"].p50
    return [(name, f"{t.p50:,.1f} us", f"{t.p99:,.1f} us", f"{base / t.p50:.1f}x") for name, t in timings.items()]


def _raw(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("CREATE TABLE cache (prompt TEXT, llm TEXT, value TEXT, PRIMARY KEY (prompt, llm)) WITHOUT ROWID")
    return connection


if __name__ == "__main__":
    main()
