"""Loops around model calls that nothing bounds."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from llmthrift_core.auditing.findings import Remark
from llmthrift_core.auditing.model_uses import ModelUses, is_metered_name
from llmthrift_core.auditing.module import UNKNOWN, Module

_SPENDING: Final = re.compile(
    r"budget|cost|spen[dt]|usd|dollar|tokens|usage|deadline|elapsed|max_|limit|attempt|tries|steps|rounds|turns", re.IGNORECASE
)
_LOOPS: Final = (ast.While, ast.For, ast.AsyncFor, ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)

Loop = ast.While | ast.For | ast.AsyncFor | ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp


def find_unbounded_loops(uses: ModelUses) -> Iterator[Remark]:
    """Loops that ask a model each round, without a count, a condition on what is spent, or a budget."""
    module = uses.module
    found: dict[Loop, ast.Call] = {}
    for call in module.calls:
        if (loop := _loop_around(call, module)) is not None and uses.asks(call) and not _is_budgeted(call, uses):
            found.setdefault(loop, call)
    for loop, call in found.items():
        asked = ast.unparse(call.func)[:60]
        if isinstance(loop, ast.While):
            if not _is_counted(loop, module) and not _is_left(loop) and not _is_paced(loop):
                yield Remark(
                    "loop-without-budget",
                    loop,
                    f"`while` calls {asked} until something else ends it; count its rounds, or hold a budget: "
                    "with thrift.budgets.reserve(...), or thrifty(model, thrift)",
                )
        elif not _is_short(loop, module) and not (isinstance(loop, ast.For | ast.AsyncFor) and (_is_left(loop) or _is_paced(loop))):
            endless = isinstance(loop, ast.For | ast.AsyncFor) and _is_endless(loop.iter, module)
            yield Remark(
                "loop-without-budget",
                loop,
                f"a loop calls {asked} as often as there are items; limit their number, or hold a budget: "
                "with thrift.budgets.reserve(...), or thrifty(model, thrift)",
                "warning" if endless else "note",
            )


def _loop_around(call: ast.Call, module: Module) -> Loop | None:
    """The innermost loop whose rounds contain a call. What a `for` goes through is asked once."""
    below: ast.AST = call
    for above in module.ancestors(call):
        if isinstance(above, (*_FUNCTIONS, ast.ClassDef)):
            return None
        if isinstance(above, ast.For | ast.AsyncFor) and (below is above.iter or below in above.orelse):
            below = above
            continue
        if isinstance(above, ast.comprehension):
            owner = module.parents[above]
            if below is above.iter and isinstance(owner, _LOOPS) and above is getattr(owner, "generators", [None])[0]:
                return _loop_around_node(owner, module)
        if isinstance(above, _LOOPS):
            return above
        below = above
    return None


def _loop_around_node(node: ast.AST, module: Module) -> Loop | None:
    for above in module.ancestors(node):
        if isinstance(above, (*_FUNCTIONS, ast.ClassDef)):
            return None
        if isinstance(above, _LOOPS):
            return above
    return None


def _is_budgeted(call: ast.Call, uses: ModelUses) -> bool:
    """Is the call made within a hold, or by a model that keeps budgets?"""
    module = uses.module
    for above in module.ancestors(call):
        if isinstance(above, ast.With | ast.AsyncWith) and any(
            isinstance(item.context_expr, ast.Call)
            and isinstance(item.context_expr.func, ast.Attribute)
            and item.context_expr.func.attr == "reserve"
            for item in above.items
        ):
            return True
    return isinstance(call.func, ast.Attribute) and _is_metered(call.func.value, module)


def _is_metered(node: ast.expr, module: Module, depth: int = 0) -> bool:
    node = module.origin(node)
    if depth > 12:
        return False
    if isinstance(node, ast.BinOp):
        return _is_metered(node.left, module, depth + 1) or _is_metered(node.right, module, depth + 1)
    if not isinstance(node, ast.Call):
        return False
    if is_metered_name(module.qualified(node.func) or ""):
        return True
    inner = [*node.args, *(keyword.value for keyword in node.keywords)]
    for value in list(inner):
        listed = module.origin(value)
        if isinstance(listed, ast.List | ast.Tuple):
            inner += listed.elts
    if isinstance(node.func, ast.Attribute):
        inner.append(node.func.value)
    return any(isinstance(value, ast.expr) and _is_metered(value, module, depth + 1) for value in inner)


def _own_nodes(loop: ast.AST) -> Iterator[ast.AST]:
    """What a loop consists of, without functions that are defined in it."""
    stack = list(ast.iter_child_nodes(loop))
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, _FUNCTIONS):
            stack.extend(ast.iter_child_nodes(node))


def _words(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Attribute):
            yield part.attr


def _counters(loop: ast.AST) -> set[str]:
    return {
        node.target.id if isinstance(node.target, ast.Name) else node.target.attr
        for node in _own_nodes(loop)
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name | ast.Attribute)
    }


def _is_counted(loop: ast.While, module: Module) -> bool:
    """Does the condition compare something that the rounds count, or that is spent?"""
    if module.constant(loop.test) is not UNKNOWN:
        return False
    counters = _counters(loop)
    return any(
        isinstance(node, ast.Compare) and (counters & set(_words(node)) or any(_SPENDING.search(word) for word in _words(node)))
        for node in ast.walk(loop.test)
    )


def _is_left(loop: ast.While | ast.For | ast.AsyncFor) -> bool:
    """Is there a way out that depends on a count or on what is spent?"""
    counters = _counters(loop)
    for node in _own_nodes(loop):
        if isinstance(node, ast.If) and any(isinstance(inner, ast.Break | ast.Return | ast.Raise) for inner in node.body):
            for compared in ast.walk(node.test):
                if isinstance(compared, ast.Compare) and isinstance(compared.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE | ast.Eq):
                    words = set(_words(compared))
                    if words & counters or any(_SPENDING.search(word) for word in words):
                        return True
    return False


def _is_paced(loop: ast.AST) -> bool:
    """Does a person pace the rounds, who is asked in each?"""
    for node in _own_nodes(loop):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id == "input":
                return True
            if (
                isinstance(node.func, ast.Attribute)
                and node.func.attr in ("input", "prompt", "ask", "readline")
                and _is_console(node.func.value)
            ):
                return True
    return False


def _is_console(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id.lower() in ("console", "typer", "click", "prompt", "session", "questionary", "stdin")


def _is_short(loop: Loop, module: Module) -> bool:
    """Are the rounds counted in the text: a range of numbers, a written list, a slice?"""
    if isinstance(loop, ast.While):
        return False
    iterables = [loop.iter] if isinstance(loop, ast.For | ast.AsyncFor) else [generator.iter for generator in loop.generators]
    return all(_is_limited(iterable, module) for iterable in iterables)


def _is_limited(node: ast.expr, module: Module, depth: int = 0) -> bool:
    changed, node = module.is_changed(node), module.origin(node)
    if changed or depth > 8:
        return False
    if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict | ast.Constant):
        return True
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
        return node.slice.upper is not None
    if not isinstance(node, ast.Call):
        return False
    name = (module.qualified(node.func) or (node.func.id if isinstance(node.func, ast.Name) else "")).rpartition(".")[2]
    if name == "range":
        words = [word for argument in node.args for word in _words(argument)]
        return all(module.constant(argument) is not UNKNOWN for argument in node.args) or any(_SPENDING.search(word) for word in words)
    if name in ("islice", "head", "sample"):
        return True
    if name in ("enumerate", "reversed", "sorted", "list", "tuple", "tqdm") and node.args:
        return _is_limited(node.args[0], module, depth + 1)
    if name == "zip":
        return any(_is_limited(argument, module, depth + 1) for argument in node.args)
    is_view = isinstance(node.func, ast.Attribute) and node.func.attr in ("items", "keys", "values")
    return is_view and isinstance(node.func, ast.Attribute) and _is_limited(node.func.value, module, depth + 1)


def _is_endless(node: ast.expr, module: Module) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = (module.qualified(node.func) or (node.func.id if isinstance(node.func, ast.Name) else "")).rpartition(".")[2]
    return name in ("count", "cycle", "repeat") or (name == "iter" and len(node.args) == 2)
