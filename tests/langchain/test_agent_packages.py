"""Agents of packages beside LangChain: one row for each model call, a whole tree, and one budget for all agents of a run."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool

from llmthrift_core import Budget, BudgetExceededError
from llmthrift_core.testing.answers import Answer, Question, ToolCall
from llmthrift_langchain import ThriftCallbackHandler, ThriftMiddleware, thrifty

# The packages warn of what they use of LangGraph themselves.
pytestmark = [
    pytest.mark.loopback,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
WHY = "{} is not installed: `make upstream` installs it beside the newest langchain"
ASKED = {"messages": [("user", "Find tea.")]}


def script(question: Question) -> Answer:
    """The lead hands over to the researcher, who searches and answers; then the lead ends, where it is asked again."""
    system = " ".join(text for role, text in question.messages if role == "system")
    said = " ".join(text for _, text in question.messages)
    if "You research" in system:
        return Answer("Tea is hot.") if "found tea" in said else Answer(tool_calls=(ToolCall("search", {"query": "tea"}),))
    if "Tea is hot." in said or "Done." in said:
        return Answer("Done.")
    if "task" in question.tools:
        return Answer(tool_calls=(ToolCall("task", {"description": "Find tea.", "subagent_type": "researcher"}),))
    return Answer(tool_calls=(ToolCall("transfer_to_researcher", {}),))


@pytest.fixture
def make(thrift, client, provider):
    """The agents of a package, whose models are metered and bounded by one door or another."""
    provider.answerer = script

    @tool
    @thrift.costs(usd="0.005", kind="archive")
    def search(query: str) -> str:
        """Search."""
        return f"found {query}"

    def made(package: str, door: str) -> tuple[Any, Any]:
        model: Any = client()
        config = {"callbacks": [ThriftCallbackHandler(thrift, enforce=True)]} if door == "handler" else {}
        if door == "thrifty":
            model = thrifty(model, thrift, cache=False)
        around = [ThriftMiddleware(thrift)] if door == "middleware" else []
        if package == "deepagents":
            deepagents = pytest.importorskip("deepagents", reason=WHY.format("deepagents"))
            researcher = {
                "name": "researcher",
                "description": "Researches.",
                "system_prompt": "You research.",
                "tools": [search],
                "middleware": around,
            }
            return deepagents.create_deep_agent(
                model, system_prompt="You lead.", subagents=[researcher], middleware=around, name="lead"
            ), config
        if package == "supervisor":
            supervisors = pytest.importorskip("langgraph_supervisor", reason=WHY.format("langgraph-supervisor"))
            colleague = create_agent(model, [search], system_prompt="You research.", name="researcher", middleware=around)
            return supervisors.create_supervisor([colleague], model=model, prompt="You lead.").compile(name="team"), config
        swarms = pytest.importorskip("langgraph_swarm", reason=WHY.format("langgraph-swarm"))
        over = swarms.create_handoff_tool(agent_name="researcher")
        lead = create_agent(model, [over], system_prompt="You lead.", name="lead", middleware=around)
        colleague = create_agent(model, [search], system_prompt="You research.", name="researcher", middleware=around)
        return swarms.create_swarm([lead, colleague], default_active_agent="lead").compile(name="team"), config

    return made


WAYS = [
    ("deepagents", "handler"),
    ("deepagents", "thrifty"),
    ("deepagents", "middleware"),
    ("supervisor", "handler"),
    ("supervisor", "thrifty"),
    ("swarm", "handler"),
    ("swarm", "thrifty"),
    ("swarm", "middleware"),
]


async def ended(agent: Any, config: Any, is_async: bool) -> Any:
    return await agent.ainvoke(ASKED, config) if is_async else agent.invoke(ASKED, config)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(("package", "door"), WAYS)
async def test_a_row_for_each_call_and_a_whole_tree(make, thrift, provider, package, door, is_async):
    agent, config = make(package, door)
    last = (await ended(agent, config, is_async))["messages"][-1]
    assert last.text in ("Done.", "Tea is hot.")  # a swarm ends with the one who was handed over to
    calls = list(thrift.ledger.calls())
    assert len(calls) == len(provider.requests) == (3 if package == "swarm" else 4)
    (row,) = thrift.report(by="run").to_dicts()
    assert (row["requests"], row["other_cost_usd"]) == (len(calls), Decimal("0.005"))
    tree = thrift.run_costs(row["run"])
    nodes = tree.to_dicts()
    assert tree.total_usd == row["cost_usd"] + row["other_cost_usd"]
    assert sum("gpt-4o-mini" in node["name"] for node in nodes) == len(calls)
    names = [node["name"] for node in nodes]
    place = names.index("archive")
    assert names[place - 1] == "search"
    above = [node["name"] for node in nodes[:place] if node["depth"] < nodes[place]["depth"]]
    assert "researcher" in above
    assert names[0] == ("lead" if package == "deepagents" else "team")


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(("package", "door"), WAYS)
async def test_all_agents_of_a_run_share_its_budget(make, thrift, provider, package, door, is_async):
    thrift.budgets.add(Budget(limit_requests=2, per="run"))
    agent, config = make(package, door)
    with pytest.raises(BudgetExceededError):
        await ended(agent, config, is_async)
    (row,) = thrift.budgets.status()
    assert (len(provider.requests), row["spent"], row["reserved"], thrift.budgets.holds()) == (2, 2, 0, [])


SERVER = """
from mcp.server.fastmcp import FastMCP

server = FastMCP("archive")


@server.tool()
def search(query: str) -> str:
    "Search."
    return f"found {query}"


server.run("stdio")
"""


@pytest.mark.parametrize("door", ["thrifty", "middleware"])
async def test_a_tool_of_an_mcp_server_has_its_cost_below_it(thrift, client, provider, tmp_path: Path, door: str):
    clients = pytest.importorskip("langchain_mcp_adapters.client", reason=WHY.format("langchain-mcp-adapters with mcp<2"))
    (tmp_path / "server.py").write_text(SERVER, encoding="utf-8")
    provider.answerer = script

    @thrift.costs(usd="0.002", kind="archive")
    async def priced(request: Any, handler: Any) -> Any:
        return await handler(request)

    servers = {"archive": {"command": sys.executable, "args": [str(tmp_path / "server.py")], "transport": "stdio"}}
    tools = await clients.MultiServerMCPClient(servers, tool_interceptors=[priced]).get_tools()
    model: Any = thrifty(client(), thrift, cache=False) if door == "thrifty" else client()
    around = [ThriftMiddleware(thrift)] if door == "middleware" else []
    agent = create_agent(model, tools, system_prompt="You research.", middleware=around, name="researcher")
    assert (await agent.ainvoke(ASKED))["messages"][-1].text == "Tea is hot."
    (row,) = thrift.report(by="run").to_dicts()
    assert (row["requests"], row["other_cost_usd"], len(provider.requests)) == (2, Decimal("0.002"), 2)
    nodes = thrift.run_costs(row["run"]).to_dicts()
    names = [node["name"] for node in nodes]
    assert names[names.index("archive") - 1] == "search"
    assert nodes[names.index("search")]["depth"] == nodes[names.index("researcher")]["depth"] + 1
