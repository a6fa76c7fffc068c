"""Text that differs each time: in prompts of cached models, and before what a provider could keep of a prompt."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final, Literal

from llmthrift_core.auditing.findings import Remark
from llmthrift_core.auditing.model_uses import ModelUses
from llmthrift_core.auditing.module import Module

Part = tuple[Literal["static", "volatile", "unknown"], int, ast.expr]  # what it is, its length, where it stands

STATIC_BEHIND: Final = 40
"""Characters of static text behind a volatile part that make it worth moving."""

_VOLATILE: Final = frozenset(
    [
        "datetime.datetime.now",
        "datetime.datetime.utcnow",
        "datetime.datetime.today",
        "datetime.date.today",
        "time.time",
        "time.time_ns",
        "time.ctime",
        "time.asctime",
        "time.strftime",
        "time.localtime",
        "time.gmtime",
        "time.monotonic",
        "time.perf_counter",
        "uuid.uuid1",
        "uuid.uuid4",
        "random.random",
        "random.randint",
        "random.choice",
        "random.randrange",
        "random.uniform",
        "secrets.token_hex",
        "secrets.token_urlsafe",
        "os.getpid",
        "os.urandom",
        "pendulum.now",
        "pendulum.today",
        "arrow.now",
        "arrow.utcnow",
        "django.utils.timezone.now",
    ]
)
_VOLATILE_NAME: Final = re.compile(
    r"^(?:current_?|todays?_?|now_?)?(?:date|time|datetime|date_?time|timestamp|now|today)$|^(?:request|trace|correlation)_?id$|^uuid4?$"
)
_PLACEHOLDER: Final = re.compile(r"(?<!\{)\{(\w+)[^{}]*\}(?!\})")
_SYSTEM_CALLS: Final = ("SystemMessage", "SystemMessagePromptTemplate.from_template")
_SYSTEM_ARGUMENTS: Final = ("system", "system_prompt", "instructions", "system_instruction", "system_message", "prefix_messages")
_CACHES: Final = (
    "set_llm_cache",
    "ThriftCache",
    "SemanticCache",
    "GPTCache",
    "InMemoryCache",
    "SQLiteCache",
    "RedisCache",
    "RedisSemanticCache",
)
_DOORS: Final = ("thrifty", "ChatRouter", "RouterLLM")


def parts_of(node: ast.expr, module: Module, depth: int = 0) -> list[Part]:
    """A text as a sequence of what stays, what differs each time, and what is not known."""
    given, node = node, module.origin(node)
    if depth > 10:
        return [("unknown", 0, given)]
    if isinstance(node, ast.Constant):
        return [("static", len(str(node.value)), node)]
    if isinstance(node, ast.JoinedStr):
        return [part for value in node.values for part in _parts_of_piece(value, module, depth)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return parts_of(node.left, module, depth + 1) + parts_of(node.right, module, depth + 1)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        values = node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]
        return _filled(re.split(r"%\w", str(_text(node.left, module))), list(values), node, module, depth)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):  # a text so many times
        text = node.left if isinstance(_text(node.left, module), str) else node.right
        return parts_of(text, module, depth + 1)
    parts = _parts_of_call(node, module, depth) if isinstance(node, ast.Call) else []
    if any(kind != "unknown" for kind, _, _ in parts):
        return parts
    if is_volatile(node, module):
        return [("volatile", 0, given)]
    if any(_is_constant_name(each) for each in (given, node)):  # read from a file, or made once
        return [("static", STATIC_BEHIND, given)]
    return parts or [("unknown", 0, given)]


def _parts_of_piece(value: ast.expr, module: Module, depth: int) -> list[Part]:
    if isinstance(value, ast.Constant):
        return [("static", len(str(value.value)), value)]
    return parts_of(value.value if isinstance(value, ast.FormattedValue) else value, module, depth + 1)


def _parts_of_call(node: ast.Call, module: Module, depth: int) -> list[Part]:
    if is_volatile(node, module):
        return [("volatile", 0, node)]
    func = node.func
    if isinstance(func, ast.Attribute):
        if func.attr == "join" and node.args:
            listed = module.origin(node.args[0])
            if isinstance(listed, ast.List | ast.Tuple):
                return [part for value in listed.elts for part in parts_of(value, module, depth + 1)]
        if func.attr == "format" and isinstance(template := _text(func.value, module), str):
            pieces = re.split(r"\{(\w*)[^{}]*\}", template)
            named = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
            positional = iter(node.args)
            values = [named.get(name) if name and not name.isdigit() else next(positional, None) for name in pieces[1::2]]
            return _filled(pieces[::2], values, node, module, depth)
        if func.attr in ("strip", "rstrip", "lstrip", "dedent", "lower", "upper") and not node.args:
            return parts_of(func.value, module, depth + 1)
    if (module.qualified(func) or "").endswith(("dedent", "cleandoc")) and node.args:
        return parts_of(node.args[0], module, depth + 1)
    if isinstance(func, ast.Name) and len(functions := module.functions.get(func.id, [])) == 1:
        returned = [inner.value for inner in ast.walk(functions[0]) if isinstance(inner, ast.Return) and inner.value is not None]
        if len(returned) == 1:
            return [(kind, length, node) for kind, length, _ in parts_of(returned[0], module, depth + 1)]
    return [("unknown", 0, node)]


def _filled(pieces: list[str], values: list[ast.expr | None], node: ast.expr, module: Module, depth: int) -> list[Part]:
    found: list[Part] = []
    for number, piece in enumerate(pieces):
        found.append(("static", len(piece), node))
        if number < len(values) and (value := values[number]) is not None:
            found += parts_of(value, module, depth + 1)
    return found


def _text(node: ast.expr, module: Module) -> str | None:
    value = module.constant(node)
    return value if isinstance(value, str) else None


def _is_constant_name(node: ast.expr) -> bool:
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return len(name) > 2 and name.isupper()


def is_volatile(node: ast.expr, module: Module, depth: int = 0) -> bool:
    """Does an expression differ each time: a clock, chance, an id?"""
    node = module.origin(node)
    if depth > 8:
        return False
    if isinstance(node, ast.Call):
        full = module.qualified(node.func)
        if full is not None and full in _VOLATILE:
            return True
        if isinstance(node.func, ast.Attribute) and is_volatile(node.func.value, module, depth + 1):
            return True
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        return name in ("str", "int", "round", "repr") and any(is_volatile(argument, module, depth + 1) for argument in node.args[:1])
    if isinstance(node, ast.Attribute | ast.Subscript):
        return is_volatile(node.value, module, depth + 1)
    return isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Add | ast.Mod) and is_volatile(node.left, module, depth + 1)


# --- what a provider keeps of a prompt ---


def find_broken_prefixes(uses: ModelUses) -> Iterator[Remark]:
    """System prompts in which something volatile stands before static text."""
    module = uses.module
    seen: set[ast.expr] = set()
    for text, is_template in _system_texts(module):
        if (origin := module.origin(text)) in seen:
            continue
        seen.add(origin)
        parts = parts_of(text, module)
        if is_template and isinstance(template := _text(text, module), str):
            parts = _parts_of_template(template, origin)
        for number, (kind, _, node) in enumerate(parts):
            if kind == "volatile":
                behind = sum(length for other, length, _ in parts[number + 1 :] if other == "static")
                if behind >= STATIC_BEHIND:
                    yield Remark(
                        "volatile-prefix",
                        node if node in module.parents else text,
                        f"{_shown(node)} stands before static text of the system prompt, so the provider's cache never serves it; "
                        "move it to the end, or into the user's message",
                    )
                    break


def _shown(node: ast.expr) -> str:
    return "what differs each time" if isinstance(node, ast.Constant) else f"`{ast.unparse(node)[:50]}`"


def _parts_of_template(text: str, node: ast.expr) -> list[Part]:
    found: list[Part] = []
    at = 0
    for placeholder in _PLACEHOLDER.finditer(text):
        found.append(("static", placeholder.start() - at, node))
        found.append(("volatile" if _VOLATILE_NAME.match(placeholder.group(1).lower()) else "unknown", 0, node))
        at = placeholder.end()
    return [*found, ("static", len(text) - at, node)]


def _system_texts(module: Module) -> Iterator[tuple[ast.expr, bool]]:
    """Texts that are sent as system prompts, and whether their braces are filled later."""
    for node in module.parents:
        if isinstance(node, ast.Dict):
            entries = {key.value: value for key, value in zip(node.keys, node.values, strict=True) if isinstance(key, ast.Constant)}
            if "content" in entries and "role" in entries and module.constant(entries["role"]) in ("system", "developer"):
                yield from ((text, False) for text in _texts(entries["content"], module))
        elif isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.ctx, ast.Load):
            if isinstance(node.elts[0], ast.Constant) and node.elts[0].value == "system":
                yield node.elts[1], True
        elif isinstance(node, ast.Call):
            yield from _system_texts_of_call(node, module)


def _system_texts_of_call(node: ast.Call, module: Module) -> Iterator[tuple[ast.expr, bool]]:
    full = module.qualified(node.func) or ""
    if full.endswith(_SYSTEM_CALLS):
        given = node.args[:1] or [keyword.value for keyword in node.keywords if keyword.arg in ("content", "template")]
        yield from ((text, full.endswith("from_template")) for value in given for text in _texts(value, module))
    elif full.endswith("ChatMessage"):
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        role = named.get("role", node.args[0] if node.args else None)
        content = named.get("content", node.args[1] if len(node.args) > 1 else None)
        if (
            role is not None
            and content is not None
            and (module.constant(role) == "system" or (module.qualified(role) or "").endswith("SYSTEM"))
        ):
            yield content, False
    for name, value in module.arguments(node).named.items():
        if name in _SYSTEM_ARGUMENTS:
            yield from ((text, False) for text in _texts(value, module))


def _texts(node: ast.expr, module: Module) -> Iterator[ast.expr]:
    """A text, or the texts of content blocks."""
    listed = module.origin(node)
    if isinstance(listed, ast.List):
        for block in listed.elts:
            block = module.origin(block)
            if isinstance(block, ast.Dict):
                yield from (
                    value
                    for key, value in zip(block.keys, block.values, strict=True)
                    if isinstance(key, ast.Constant) and key.value == "text"
                )
    elif not isinstance(listed, ast.Call) or not (module.qualified(listed.func) or "").endswith(_SYSTEM_CALLS):
        yield node


# --- what a cache of answers is asked ---


def find_volatile_cache_keys(uses: ModelUses) -> Iterator[Remark]:
    """Prompts with volatile text that are given to a model with a cache."""
    module = uses.module
    everywhere = _has_global_cache(module)
    seen: set[ast.AST] = set()
    for call in module.calls:
        if not isinstance(call.func, ast.Attribute):
            continue
        use = uses.of(call)
        asked = (use is None and uses.asks(call)) or (use is not None and use.family == "litellm")
        lookup = call.func.attr == "lookup" and _is_cache(call.func.value, module)
        if not lookup and not (asked and (everywhere or _is_cached(call, module))):
            continue
        for value in (
            *call.args,
            *(keyword.value for keyword in call.keywords if keyword.arg in (None, "messages", "input", "prompt", "message")),
        ):
            node = _volatile_within(value, module)
            statement = module.statement(node) if node is not None else None
            if node is not None and statement not in seen:
                seen.add(statement or node)
                yield Remark(
                    "volatile-cache-key",
                    node,
                    f"`{ast.unparse(node)[:50]}` makes each prompt a new one, so that the cache never answers; "
                    "leave it out, round it, or give it to a tool",
                )


def _has_global_cache(module: Module) -> bool:
    for call in module.calls:
        full = module.qualified(call.func) or ""
        if full.rpartition(".")[2] == "set_llm_cache" and call.args and module.constant(call.args[0]) is not None:
            return True
    return any(
        isinstance(node, ast.Assign)
        and any(
            isinstance(target, ast.Attribute)
            and target.attr in ("llm_cache", "cache")
            and (module.qualified(target) or "") in ("langchain.llm_cache", "litellm.cache")
            for target in node.targets
        )
        for node in module.parents
    )


def _is_cache(node: ast.expr, module: Module) -> bool:
    made = module.origin(node)
    return isinstance(made, ast.Call) and (module.qualified(made.func) or "").rpartition(".")[2] in _CACHES


def _is_cached(call: ast.Call, module: Module) -> bool:
    """Was the model, or a part of the chain, made with a cache?"""
    if not isinstance(call.func, ast.Attribute):
        return False
    stack, steps = [call.func.value], 0
    while stack and steps < 60:
        node, steps = module.origin(stack.pop()), steps + 1
        if isinstance(node, ast.BinOp):
            stack += [node.left, node.right]
        elif isinstance(node, ast.Call):
            named = {keyword.arg: keyword.value for keyword in node.keywords}
            caches = module.constant(named["cache"]) if "cache" in named else None
            name = (module.qualified(node.func) or "").rpartition(".")[2]
            if "cache" in named and caches not in (None, False):
                return True
            if name == "thrifty" and "cache" not in named:
                return True
            if isinstance(node.func, ast.Attribute):
                stack.append(node.func.value)
            if name in _DOORS:
                stack += node.args
    return False


def _volatile_within(node: ast.expr, module: Module, depth: int = 0) -> ast.expr | None:
    """The first volatile part of a prompt, of messages, or of a template's values."""
    if depth > 8:
        return None
    for kind, _, place in parts_of(node, module):
        if kind == "volatile":
            return place
    origin = module.origin(node)
    inner: list[ast.expr] = []
    if isinstance(origin, ast.List | ast.Tuple):
        inner = origin.elts
    elif isinstance(origin, ast.Dict):
        inner = [
            value
            for key, value in zip(origin.keys, origin.values, strict=True)
            if not (isinstance(key, ast.Constant) and key.value == "configurable")
        ]
    elif isinstance(origin, ast.Call):
        inner = [*origin.args, *(keyword.value for keyword in origin.keywords if keyword.arg not in ("id", "config"))]
    return next((found for value in inner if (found := _volatile_within(value, module, depth + 1)) is not None), None)
