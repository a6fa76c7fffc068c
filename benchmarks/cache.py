"""Exact cache through LangChain's BaseCache: hit, miss and update beside langchain-community's SQLiteCache, diskcache and raw sqlite3.

    python -m benchmarks.cache
"""

from __future__ import annotations

import sqlite3
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from langchain_core.load import dumps
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration
from langchain_openai import ChatOpenAI

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
    from diskcache import Cache as DiskCache
    from langchain_community.cache import SQLiteCache

    model = ChatOpenAI(model="gpt-4o-mini", api_key="none", temperature=0)
    llm_string = model._get_llm_string(stop=None)
    generations = answer()
    for turns, name in ((1, "prompt of 1.4 kB"), (20, "history of 20 messages")):
        prompts = [dumps(conversation(number, turns)) for number in range(STORED)]
        misses = [dumps(conversation(STORED + number, turns)) for number in range(STORED)]
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            community = SQLiteCache(f"{folder}/community.db")
            thrift = Thrift(f"{folder}/thrift.db")
            cache = ThriftCache(thrift, ttl_seconds=None, max_entries=None, max_bytes=None)
            disk = DiskCache(f"{folder}/disk")
            raw = _raw(Path(folder) / "raw.db")
            value = dumps(generations)
            for prompt in prompts:
                community.update(prompt, llm_string, generations)
                cache.update(prompt, llm_string, generations)
                disk.set((prompt, llm_string), value)
                raw.execute("INSERT OR REPLACE INTO cache VALUES (?, ?, ?)", (prompt, llm_string, value))
            thrift.close()
            reopened = [Thrift(f"{folder}/thrift.db") for _ in range(2)]
            in_memory, cold = (ThriftCache(each, ttl_seconds=None, max_entries=None, max_bytes=None) for each in reopened)
            for prompt in prompts[:500]:
                in_memory.lookup(prompt, llm_string)
            select = "SELECT value FROM cache WHERE prompt = ? AND llm = ?"
            forget = reopened[1].cache.forget_memory

            def from_database(number: int, cold: ThriftCache = cold, forget: Callable[[], None] = forget, prompts: list[str] = prompts) -> None:
                forget()
                cold.lookup(prompts[number % STORED], llm_string)

            hits = compare(
                {
                    "SQLiteCache": lambda n: community.lookup(prompts[n % STORED], llm_string),
                    "diskcache": lambda n: disk.get((prompts[n % STORED], llm_string)),
                    "raw sqlite3": lambda n: raw.execute(select, (prompts[n % STORED], llm_string)).fetchone(),
                    "llmthrift, from the database": from_database,
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
            insert = "INSERT OR REPLACE INTO cache VALUES (?, ?, ?)"
            updates = compare(
                {
                    "SQLiteCache": lambda n: community.update(misses[n % STORED], llm_string, generations),
                    "diskcache": lambda n: disk.set((misses[n % STORED], llm_string), value),
                    "raw sqlite3": lambda n: raw.execute(insert, (misses[n % STORED], llm_string, value)),
                    "llmthrift": lambda n: in_memory.update(misses[n % STORED], llm_string, generations),
                },
                calls=150,
            )
            for what, timings in (("hit", hits), ("miss", missed), ("update", updates)):
                print(table(f"Exact cache, {name}, {what}", ("", "p50", "p99", "SQLiteCache / this"), _rows(timings)))
            for each in reopened:
                each.close()
            raw.close()
            disk.close()


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
