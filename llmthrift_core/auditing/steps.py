"""Agents that may take any number of steps."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from typing import Final

from llmthrift_core.auditing.clients import ASKING, STEP_LIMITS, WRAPPING, agent_name
from llmthrift_core.auditing.findings import Remark
from llmthrift_core.auditing.model_uses import ModelUses, is_metered_name
from llmthrift_core.auditing.module import Module

_LIMITS: Final = ("max_iterations", "max_execution_time", "recursion_limit", "max_steps")
_MIDDLEWARE: Final = ("ModelCallLimitMiddleware", "ThriftMiddleware")


def find_unlimited_agents(uses: ModelUses) -> Iterator[Remark]:
    """Agents, and graphs with a circle, that nothing stops."""
    module = uses.module
    members = _members_of_workflows(module)
    for call in module.calls:
        name = agent_name(module.qualified(call.func) or "")
        if name is None and _is_compiled_circle(call, module):
            name = "StateGraph"
        if name is None or call in members or _is_limited(call, module):
            continue
        steps = STEP_LIMITS.get(name, 10_007)
        given = module.arguments(call).named.get("max_iterations")
        remedy = _remedy(name)
        if given is not None and module.constant(given) is None:
            yield Remark("no-step-limit", call, f"{name} has max_iterations=None, so nothing stops it; {remedy}", "error")
        elif steps > 100:
            yield Remark("no-step-limit", call, f"{name} has no limit on its steps (current releases stop at {steps:,}); {remedy}")
        else:
            yield Remark("no-step-limit", call, f"{name} states no limit on its steps (the default is {steps}); {remedy}", "note")


def _remedy(name: str) -> str:
    if name in ("AgentExecutor", "initialize_agent"):
        return "pass max_iterations="
    if name in ("FunctionAgent", "ReActAgent", "CodeActAgent", "AgentWorkflow"):
        return "call its run(..., max_iterations=...)"
    extra = ", or middleware=[ModelCallLimitMiddleware(run_limit=...)]" if name == "create_agent" else ""
    return f'call it with config={{"recursion_limit": ...}}{extra}'


def _is_limited(call: ast.Call, module: Module) -> bool:
    arguments = module.arguments(call)
    if "max_iterations" in arguments.named and module.constant(arguments.named["max_iterations"]) is None:
        return module.constant(arguments.named.get("max_execution_time", arguments.named["max_iterations"])) is not None
    if arguments.is_open or any(name in arguments.named and module.constant(arguments.named[name]) is not None for name in _LIMITS):
        return True
    if "middleware" in arguments.named and _has_limiting_middleware(arguments.named["middleware"], module):
        return True
    above: ast.AST = call
    while isinstance(attribute := module.parents.get(above), ast.Attribute) and isinstance(
        outer := module.parents.get(attribute), ast.Call
    ):
        if attribute.attr in (*WRAPPING, *ASKING) and _limits_steps(outer, module):
            return True
        above = outer
    asked = False
    for other in module.calls:
        if isinstance(other.func, ast.Attribute) and other.func.attr in ASKING and _stands_for(other.func.value, call, module):
            asked = True
            if _limits_steps(other, module):
                return True
    return not asked and _mentions_limit(module)


def _stands_for(node: ast.expr, call: ast.Call, module: Module) -> bool:
    node = module.origin(node)
    while node is not call and isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRAPPING:
        if node.func.attr == "compile":
            break
        node = module.origin(node.func.value)
    return node is call


def _limits_steps(call: ast.Call, module: Module) -> bool:
    """Does a call of the agent state a limit, or something that may be one?"""
    arguments = module.arguments(call)
    if arguments.is_open or any(name in arguments.named for name in _LIMITS):
        return True
    for value in (arguments.named.get("config"), *arguments.positional):
        if value is None:
            continue
        entries = module.entries(value)
        is_config = value is arguments.named.get("config") or (len(arguments.positional) > 1 and value is arguments.positional[1])
        if is_config and (entries is None or "recursion_limit" in entries):
            return True
        if (
            isinstance(call.func, ast.Attribute)
            and call.func.attr == "with_config"
            and entries is not None
            and "recursion_limit" in entries
        ):
            return True
    return False


def _has_limiting_middleware(node: ast.expr, module: Module) -> bool:
    node = module.origin(node)
    if not isinstance(node, ast.List | ast.Tuple):
        return True  # made elsewhere: nothing is known
    for part in node.elts:
        made = module.origin(part)
        if isinstance(made, ast.Call):
            full = module.qualified(made.func) or ""
            if full.rpartition(".")[2] in _MIDDLEWARE or is_metered_name(full):
                return True
    return False


def _mentions_limit(module: Module) -> bool:
    """An agent that is handed on is asked elsewhere. Where the file speaks of limits that belong to no other agent, it may be given one."""
    return any(
        not _belongs_to_an_agent(node, module)
        for node in module.parents
        if (isinstance(node, ast.keyword) and node.arg in _LIMITS) or (isinstance(node, ast.Constant) and node.value == "recursion_limit")
    )


def _belongs_to_an_agent(node: ast.AST, module: Module) -> bool:
    for above in module.ancestors(node):
        if isinstance(above, ast.Call):
            receiver = module.origin(above.func.value) if isinstance(above.func, ast.Attribute) else None
            makers = [above.func, *([receiver.func] if isinstance(receiver, ast.Call) else [])]
            if any(agent_name(module.qualified(maker) or "") is not None for maker in makers):
                return True
    return False


def _members_of_workflows(module: Module) -> set[ast.expr]:
    """The agents that are run by a workflow, which has the limit."""
    found: set[ast.expr] = set()
    for call in module.calls:
        if agent_name(module.qualified(call.func) or "") in ("AgentWorkflow", "create_supervisor", "create_swarm"):
            given = module.arguments(call)
            for value in (given.named.get("agents"), *given.positional[:1]):
                listed = module.origin(value) if value is not None else None
                if isinstance(listed, ast.List | ast.Tuple):
                    found |= {module.origin(part) for part in listed.elts}
    return found


def _is_compiled_circle(call: ast.Call, module: Module) -> bool:
    """Is this `compile` of a graph of LangGraph, in which a node can come again?"""
    if not isinstance(call.func, ast.Attribute) or call.func.attr != "compile":
        return False
    graph = module.origin(call.func.value)
    chained: list[ast.Call] = []
    while isinstance(graph, ast.Call) and isinstance(graph.func, ast.Attribute) and graph.func.attr.startswith(("add_", "set_")):
        chained.append(graph)
        graph = module.origin(graph.func.value)
    if not isinstance(graph, ast.Call) or not (module.qualified(graph.func) or "").startswith("langgraph."):
        return False
    if not (module.qualified(graph.func) or "").endswith(("StateGraph", "MessageGraph")):
        return False
    edges: dict[str, set[str]] = {}
    for other in module.calls:
        if isinstance(other.func, ast.Attribute) and (other in chained or module.origin(other.func.value) is graph):
            _add_edges(other, other.func.attr, edges, module)
    return _has_circle(edges)


def _add_edges(call: ast.Call, method: str, edges: dict[str, set[str]], module: Module) -> None:
    names = [module.constant(argument) for argument in call.args]
    if method == "add_edge" and len(names) == 2 and all(isinstance(name, str) for name in names):
        edges.setdefault(names[0], set()).add(names[1])
    elif method == "add_conditional_edges" and names and isinstance(names[0], str):
        targets: set[str] = set()
        paths = call.args[2] if len(call.args) > 2 else next((word.value for word in call.keywords if word.arg == "path_map"), None)
        if paths is not None:
            paths = module.origin(paths)
            parts = paths.values if isinstance(paths, ast.Dict) else paths.elts if isinstance(paths, ast.List | ast.Tuple) else []
            targets = {name for part in parts if isinstance(name := module.constant(part), str)}
        elif len(call.args) > 1 and (module.qualified(call.args[1]) or "").endswith("tools_condition"):
            targets = {"tools"}
        elif len(call.args) > 1:
            targets = {
                part.value
                for value in _returned(call.args[1], module)
                for part in ast.walk(value)
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            }
        edges.setdefault(names[0], set()).update(targets)


def _returned(path: ast.expr, module: Module) -> list[ast.expr]:
    """What a function returns that says where a graph goes on: a lambda, a function or a method of this file."""
    path = module.origin(path)
    if isinstance(path, ast.Lambda):
        return [path.body]
    name = path.id if isinstance(path, ast.Name) else path.attr if isinstance(path, ast.Attribute) else ""
    functions = module.functions.get(name, [])
    return [node.value for each in functions for node in ast.walk(each) if isinstance(node, ast.Return) and node.value is not None]


def _has_circle(edges: dict[str, set[str]]) -> bool:
    @cache
    def reached(start: str) -> frozenset[str]:
        found, open_ends = set[str](), [start]
        while open_ends:
            for target in edges.get(open_ends.pop(), ()):
                if target not in found:
                    found.add(target)
                    open_ends.append(target)
        return frozenset(found)

    return any(start in reached(start) for start in edges)
