"""One file as a tree: scopes, imports, and what names stand for. Nothing is imported or run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

UNKNOWN: Final = object()  # a value that the text does not tell
_DEPTH: Final = 24  # a name is followed so many times at most, which also ends circles
_CHANGING: Final = ("update", "setdefault", "pop", "append", "extend", "insert")
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(eq=False)
class Scope:
    """A module, a class or a function, with what it binds. None is bound by something that tells no value, such as a parameter."""

    node: ast.AST
    parent: Scope | None
    bindings: dict[str, list[ast.expr | None]] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)
    annotations: dict[str, ast.expr] = field(default_factory=dict)
    attributes: dict[str, list[ast.expr | None]] = field(default_factory=dict)  # of a class: what is assigned to self.name

    def bind(self, name: str, value: ast.expr | None) -> None:
        """Note one more value of a name."""
        self.bindings.setdefault(name, []).append(value)

    def lookup(self, name: str) -> Scope | None:
        """The scope that binds a name, from here outward. Functions do not see the names of the class around them."""
        scope: Scope | None = self
        while scope is not None:
            visible = scope is self or not isinstance(scope.node, ast.ClassDef)
            if visible and (name in scope.bindings or name in scope.imports):
                return scope
            scope = scope.parent
        return None

    def enclosing_class(self) -> Scope | None:
        """The class whose method this is in."""
        scope: Scope | None = self
        while scope is not None and not isinstance(scope.node, ast.ClassDef):
            scope = scope.parent
        return scope


@dataclass(frozen=True)
class Arguments:
    """The arguments of a call. `is_open` says that there are some that the text does not tell."""

    named: dict[str, ast.expr]
    positional: list[ast.expr]
    is_open: bool


class Module:
    """A parsed file. Every node has a parent and a scope."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.parents: dict[ast.AST, ast.AST] = {}
        self.calls: list[ast.Call] = []
        self.names: dict[str, list[ast.Name]] = {}
        self.functions: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]] = {}
        self.top = Scope(tree, None)
        self._scopes: dict[ast.AST, Scope] = {tree: self.top}
        self._walk()
        self.packages = frozenset(self._packages())

    def _walk(self) -> None:
        stack: list[tuple[ast.AST, Scope]] = [(self.tree, self.top)]
        while stack:
            node, scope = stack.pop()
            self._scopes[node] = scope
            inner = scope
            if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
                inner = Scope(node, scope)
                self._enter(node, scope, inner)
            else:
                _note(node, scope)
            if isinstance(node, ast.Call):
                self.calls.append(node)
            elif isinstance(node, ast.Name):
                self.names.setdefault(node.id, []).append(node)
            for child in reversed(list(ast.iter_child_nodes(node))):
                self.parents[child] = node
                stack.append((child, inner))

    def _enter(self, node: ast.AST, outer: Scope, inner: Scope) -> None:
        if not isinstance(node, ast.Lambda):
            assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)  # noqa: S101 - for the type checker
            outer.bind(node.name, None)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self.functions.setdefault(node.name, []).append(node)
        if isinstance(node, _FUNCTIONS):
            arguments = node.args
            for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
                if one is not None:
                    inner.bind(one.arg, None)
                    if one.annotation is not None:
                        inner.annotations[one.arg] = one.annotation

    def _packages(self) -> Iterator[str]:
        for scope in set(self._scopes.values()):
            yield from (name.partition(".")[0] for name in (*scope.imports.values(), *scope.stars))

    # --- places ---

    def scope(self, node: ast.AST) -> Scope:
        """The scope in which a node stands."""
        return self._scopes[node]

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """What a node stands in, from the inside outward."""
        while (above := self.parents.get(node)) is not None:
            yield above
            node = above

    def statement(self, node: ast.AST) -> ast.stmt | None:
        """The statement of which a node is a part."""
        return node if isinstance(node, ast.stmt) else next((above for above in self.ancestors(node) if isinstance(above, ast.stmt)), None)

    # --- names ---

    def qualified(self, node: ast.AST, depth: int = 0) -> str | None:
        """The full name of what is imported: `openai.OpenAI` for `oa.OpenAI` after `import openai as oa`."""
        if depth > _DEPTH:
            return None
        if isinstance(node, ast.Attribute):
            base = self.qualified(node.value, depth + 1)
            return None if base is None else f"{base}.{node.attr}"
        if not isinstance(node, ast.Name):
            return None
        scope = self.scope(node).lookup(node.id)
        if scope is None:
            stars = [star for place in (self.scope(node), self.top) for star in place.stars]
            return f"{stars[0]}.{node.id}" if len(set(stars)) == 1 else None
        if node.id in scope.imports:
            return scope.imports[node.id]
        values = scope.bindings[node.id]
        if len(values) == 1 and isinstance(values[0], ast.Name | ast.Attribute):
            return self.qualified(values[0], depth + 1)
        return None

    def origin(self, node: ast.expr, depth: int = 0) -> ast.expr:
        """The expression that a name stands for, where it is assigned once; else the node itself."""
        if isinstance(node, ast.Await | ast.NamedExpr):
            return self.origin(node.value, depth + 1)
        if depth > _DEPTH:
            return node
        values: list[ast.expr | None] = []
        if isinstance(node, ast.Name):
            scope = self.scope(node).lookup(node.id)
            values = scope.bindings.get(node.id, []) if scope is not None else []
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
            owner = self.scope(node).enclosing_class()
            if owner is not None:
                values = [*owner.attributes.get(node.attr, []), *owner.bindings.get(node.attr, [])]
        if len(values) == 1 and values[0] is not None and values[0] is not node:
            return self.origin(values[0], depth + 1)
        return node

    def callee(self, call: ast.Call) -> ast.expr:
        """What a call calls; of a `functools.partial`, its function."""
        func = call.func
        for _ in range(_DEPTH):
            if (made := self._partial(func)) is None:
                break
            func = made.args[0]
        return func

    def _partial(self, func: ast.expr) -> ast.Call | None:
        made = self.origin(func)
        is_partial = isinstance(made, ast.Call) and made.args and self.qualified(made.func) == "functools.partial"
        return made if is_partial and isinstance(made, ast.Call) else None

    def is_changed(self, node: ast.expr) -> bool:
        """Is the thing of this name changed in place somewhere: an item set, `update` called?"""
        if not isinstance(node, ast.Name):
            return False
        scope = self.scope(node).lookup(node.id)
        return any(node.id in place.changed for place in (scope, self.scope(node)) if place is not None)

    # --- values ---

    def constant(self, node: ast.expr, depth: int = 0) -> Any:
        """A number, text, truth or None that a node stands for, else UNKNOWN."""
        node = self.origin(node)
        if isinstance(node, ast.Constant):
            return node.value
        if depth > _DEPTH:
            return UNKNOWN
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value = self.constant(node.operand, depth + 1)
            return -value if isinstance(value, int | float) else UNKNOWN
        if isinstance(node, ast.BinOp):
            return _combined(node.op, self.constant(node.left, depth + 1), self.constant(node.right, depth + 1))
        if isinstance(node, ast.JoinedStr):
            parts = [self.constant(part.value if isinstance(part, ast.FormattedValue) else part, depth + 1) for part in node.values]
            return "".join(map(str, parts)) if all(part is not UNKNOWN for part in parts) else UNKNOWN
        return UNKNOWN

    def arguments(self, call: ast.Call, depth: int = 0) -> Arguments:
        """The arguments of a call, `**` of known dictionaries resolved, and those of a `functools.partial` before its own."""
        made = None if depth > _DEPTH else self._partial(call.func)
        before = Arguments({}, [], False) if made is None else self.arguments(made, depth + 1)
        named = before.named
        is_open = before.is_open or any(isinstance(argument, ast.Starred) for argument in call.args)
        for keyword in call.keywords:
            if keyword.arg is not None:
                named[keyword.arg] = keyword.value
            else:
                entries = self.entries(keyword.value)
                is_open = is_open or entries is None
                named.update(entries or {})
        positional = [argument for argument in call.args if not isinstance(argument, ast.Starred)]
        return Arguments(named, [*before.positional[1:], *positional], is_open)

    def entries(self, node: ast.expr, depth: int = 0) -> dict[str, ast.expr] | None:
        """The entries of a dictionary, or the named arguments of a call that makes one. None where not all are told."""
        changed, node = self.is_changed(node), self.origin(node)
        if changed or depth > _DEPTH:
            return None
        found: dict[str, ast.expr] = {}
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if key is None:
                    if (inner := self.entries(value, depth + 1)) is None:
                        return None
                    found.update(inner)
                elif isinstance(name := self.constant(key), str):
                    found[name] = value
                else:
                    return None
            return found
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            left, right = self.entries(node.left, depth + 1), self.entries(node.right, depth + 1)
            return None if left is None or right is None else {**left, **right}
        if isinstance(node, ast.Call) and depth < _DEPTH and not any(keyword.value is node for keyword in node.keywords):
            arguments = self.arguments(node)
            return None if arguments.is_open or arguments.positional else arguments.named
        return None


def _combined(operator: ast.operator, left: Any, right: Any) -> Any:
    if isinstance(left, str) and isinstance(right, str) and isinstance(operator, ast.Add):
        return left + right
    if not all(isinstance(side, int | float) for side in (left, right)):
        return UNKNOWN
    if isinstance(operator, ast.Add):
        return left + right
    if isinstance(operator, ast.Sub):
        return left - right
    return left * right if isinstance(operator, ast.Mult) else UNKNOWN


def _note(node: ast.AST, scope: Scope) -> None:
    """Note what a node binds or changes in its scope."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            scope.imports.setdefault(
                alias.asname or alias.name.partition(".")[0], alias.name if alias.asname else alias.name.partition(".")[0]
            )
            if not alias.asname and "." in alias.name:
                scope.imports.setdefault(alias.name, alias.name)
    elif isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        for alias in node.names:
            if alias.name == "*":
                scope.stars.append(module)
            else:
                scope.imports.setdefault(alias.asname or alias.name, f"{module}.{alias.name}")
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            _bind(target, node.value, scope)
    elif isinstance(node, ast.AnnAssign):
        if isinstance(node.target, ast.Name):
            scope.annotations[node.target.id] = node.annotation
        if node.value is not None:
            _bind(node.target, node.value, scope)
    elif isinstance(node, ast.NamedExpr):
        _bind(node.target, node.value, scope)
    elif isinstance(node, ast.AugAssign | ast.For | ast.AsyncFor | ast.comprehension):
        _bind(node.target, None, scope)
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        _bind(node.optional_vars, node.context_expr, scope)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in _CHANGING:
        scope.changed.add(node.value.id)


def _bind(target: ast.expr, value: ast.expr | None, scope: Scope) -> None:
    if isinstance(target, ast.Name):
        scope.bind(target.id, value)
    elif isinstance(target, ast.Tuple | ast.List):
        values: list[ast.expr | None] = [None] * len(target.elts)
        if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts):
            values = list(value.elts)
        for inner, part in zip(target.elts, values, strict=True):
            _bind(inner, part, scope)
    elif isinstance(target, ast.Starred):
        _bind(target.value, None, scope)
    elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
        scope.changed.add(target.value.id)
    elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id in ("self", "cls"):
        owner = scope.enclosing_class()
        if owner is not None:
            owner.attributes.setdefault(target.attr, []).append(value)
