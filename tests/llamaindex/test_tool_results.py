"""An agent's results are short from the start, the rest is fetched by a handle, and nodes are kept for a question."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.schema import NodeWithScore, TextNode

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompts import steps
from llmthrift_core.testing.answers import Answer, ToolCall
from llmthrift_llamaindex import ContextPostprocessor, short_results, thrifty
from tests.llamaindex.conftest import run

ROWS = [{"flight": f"HAT{number}", "seats": {"economy": number}, "status": "available"} for number in range(200)]


def flights() -> str:
    """All flights."""
    return json.dumps(ROWS, indent=2)


@pytest.mark.loopback
def test_results_are_short_on_entry_and_the_rest_can_be_fetched(thrift: Any, openai: Any, provider: Any) -> None:
    seen: list[str] = []

    def answer(asked: Any) -> Answer:
        said = str(asked.messages[-1][1])
        seen.append(said)
        if handle := re.search(r'handle "(r-\w+)"', said):
            return Answer(tool_calls=(ToolCall("fetch_result", {"handle": handle[1], "length": 100_000}),))
        return Answer("Done.") if "HAT150" in said else Answer(tool_calls=(ToolCall("flights", {}),))

    provider.answerer = answer
    tools = short_results([flights], steps.Compact(max_tokens=300))
    agent = FunctionAgent(tools=tools, llm=thrifty(openai(), thrift, cache=False))

    async def work() -> str:
        return str(await agent.run("Which flights are there?"))

    assert run(work()) == "Done."
    assert '"columns"' in seen[1]
    assert len(seen[1]) < 1_200
    assert json.loads(seen[2]) == ROWS  # as it was


def test_tools_stay_what_they_are() -> None:
    (tool,) = short_results([flights], steps.Compact(max_tokens=None))
    assert (tool.metadata.name, tool.metadata.description.splitlines()[-1]) == ("flights", "All flights.")
    assert json.loads(tool().raw_output) == ROWS
    with pytest.raises(ConfigurationError, match="Compact"):
        short_results([flights], "short")  # type: ignore[arg-type]


def test_nodes_for_a_question() -> None:
    text = "The bridge was built in 1911. " + "Bakers sell bread in the old street on weekdays. " * 9
    nodes = [NodeWithScore(node=TextNode(text=each), score=0.5) for each in ("Cats sleep.", text)]
    (kept,) = ContextPostprocessor(max_nodes=1, share=0.2, embedder=False).postprocess_nodes(nodes, query_str="When was the bridge built?")
    assert kept.text.startswith("The bridge was built in 1911.")
    assert len(kept.text) < 0.5 * len(text)
    assert (kept.score, nodes[1].score, nodes[1].text) == (1.0, 0.5, text)
