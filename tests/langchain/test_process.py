"""A process that is metered by LLMTHRIFT_METER=1 alone: nothing is opened on its event loop, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from llmthrift_core import Thrift

# Names that no price list has are looked for in every file of prices; an answer without usage is counted with a vocabulary file.
_PROGRAM = """
import asyncio
import os
import blockbuster
import llmthrift_langchain
from langchain_core.language_models.fake_chat_models import FakeListChatModel

assert not os.path.exists(os.environ["LLMTHRIFT_URL"])
model = FakeListChatModel(responses=["One.", "Two.", "Three."])

async def work():
    await model.ainvoke("Hello?")
    _ = [chunk async for chunk in model.astream("And you?")]
    return await asyncio.gather(*(model.ainvoke(f"How is number {n}?") for n in range(3)))

with blockbuster.blockbuster_ctx(["langchain_core", "llmthrift_core", "llmthrift_langchain"]):
    asyncio.run(work())
"""


def test_nothing_is_opened_on_the_event_loop_of_a_metered_process(tmp_path: Path) -> None:
    path = tmp_path / "process.db"
    environment = {**os.environ, "LLMTHRIFT_METER": "1", "LLMTHRIFT_URL": str(path)}
    done = subprocess.run([sys.executable, "-c", _PROGRAM], env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, "Blocking" in done.stderr, "bypassed" in done.stderr) == (0, False, False), done.stderr
    with Thrift(path) as thrift:
        rows = thrift.ledger.calls(order="oldest")
    assert len(rows) == 5
    assert all(row.estimated and row.input_tokens > 0 and row.output_tokens > 0 and row.error is None for row in rows)
