"""Calls whose answers may be as long as the model allows, and streams that do not say what they used."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from llmthrift_core.auditing.clients import LIMIT_NAMES, LIMITED_BY_DEFAULT, NESTED_LIMITS
from llmthrift_core.auditing.findings import Remark
from llmthrift_core.auditing.model_uses import ModelUse, ModelUses, dotted
from llmthrift_core.auditing.module import UNKNOWN, Module

_ARGUMENT: Final = {
    "responses.create": "max_output_tokens=",
    "responses.parse": "max_output_tokens=",
    "chat.completions.create": "max_completion_tokens=",
    "chat.completions.parse": "max_completion_tokens=",
    "models.generate_content": "config=GenerateContentConfig(max_output_tokens=...)",
    "models.generate_content_stream": "config=GenerateContentConfig(max_output_tokens=...)",
    "GenerativeModel": 'generation_config={"max_output_tokens": ...}',
    "ChatOllama": "num_predict=",
}


def find_unlimited_outputs(uses: ModelUses) -> Iterator[Remark]:
    """Models and calls without a limit on output."""
    for use in uses:
        if output_limit(use, uses.module) is not None or use.full_name in LIMITED_BY_DEFAULT or _is_limited_later(use, uses):
            continue
        argument = _ARGUMENT.get(use.name, "max_tokens=")
        yield Remark("no-output-limit", use.node, f"{use.name} has no limit on its output; pass {argument} with what the answer needs")


def output_limit(use: ModelUse, module: Module) -> object | None:
    """The limit: a number, UNKNOWN where one may be given, None where there is none."""
    found = _limit_in(use.arguments.named, module)
    if found is None and use.arguments.is_open:
        return UNKNOWN
    return found


def _limit_in(arguments: dict[str, ast.expr], module: Module) -> object | None:
    for name in LIMIT_NAMES:
        if name in arguments and (value := module.constant(arguments[name])) is not None:
            return value if isinstance(value, int) and value > 0 else None if value in (0, -1) else UNKNOWN
    for name in NESTED_LIMITS:
        if name in arguments and module.constant(arguments[name]) is not None:
            entries = module.entries(arguments[name])
            if entries is None:
                return UNKNOWN
            if (value := _limit_in(entries, module)) is not None:
                return value
    return None


def _is_limited_later(use: ModelUse, uses: ModelUses) -> bool:
    """Is the model given its limit by `bind`, or by each call?"""
    if not use.is_model:
        return False
    module = uses.module
    above = module.parents.get(use.node)
    outer = module.parents.get(above) if isinstance(above, ast.Attribute) else None
    if isinstance(outer, ast.Call) and _limit_in(module.arguments(outer).named, module) is not None:
        return True
    names = (*LIMIT_NAMES, *NESTED_LIMITS[1:])
    return any(
        isinstance(call.func, ast.Attribute)
        and any(keyword.arg in names for keyword in call.keywords)
        and module.origin(call.func.value) is use.node
        and _limit_in(module.arguments(call).named, module) is not None
        for call in module.calls
    )


def find_streams_without_usage(uses: ModelUses) -> Iterator[Remark]:
    """Streams of OpenAI's format whose last chunk does not tell the usage."""
    module = uses.module
    for use in uses:
        named = use.arguments.named
        if use.arguments.is_open:
            continue
        if use.name in ("chat.completions.create", "completions.create", "litellm.completion", "litellm.acompletion"):
            if "stream" in named and module.constant(named["stream"]) is True and not _includes_usage(named.get("stream_options"), module):
                yield Remark(
                    "stream-without-usage",
                    use.node,
                    f'{use.name} streams without usage; pass stream_options={{"include_usage": True}}',
                )
        elif use.full_name in ("langchain_openai.ChatOpenAI", "langchain_openai.chat_models.ChatOpenAI"):
            address = next((named[name] for name in ("base_url", "openai_api_base") if name in named), None)
            if address is None or module.constant(address) is None or "stream_usage" in named or "model_kwargs" in named:
                continue  # with OpenAI's own address the client asks for usage by itself
            streaming = "streaming" in named and module.constant(named["streaming"]) is True
            if streaming or _is_streamed(use, uses):
                yield Remark(
                    "stream-without-usage",
                    use.node,
                    "ChatOpenAI with another base_url does not ask streams for their usage; pass stream_usage=True",
                )


def _includes_usage(options: ast.expr | None, module: Module) -> bool:
    if options is None or module.constant(options) is None:
        return False
    entries = module.entries(options)
    if entries is None:
        return True
    return "include_usage" in entries and module.constant(entries["include_usage"]) is not False


def _is_streamed(use: ModelUse, uses: ModelUses) -> bool:
    return any(
        isinstance(call.func, ast.Attribute)
        and call.func.attr in ("stream", "astream", "astream_events")
        and not dotted(call.func).startswith("chat.")
        and _contains(call.func.value, use, uses)
        for call in uses.module.calls
    )


def _contains(node: ast.expr, use: ModelUse, uses: ModelUses, depth: int = 0) -> bool:
    """Is the model a part of this chain?"""
    node = uses.module.origin(node)
    if node is use.node:
        return True
    if depth < 12 and isinstance(node, ast.BinOp):
        return _contains(node.left, use, uses, depth + 1) or _contains(node.right, use, uses, depth + 1)
    if depth < 12 and isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return _contains(node.func.value, use, uses, depth + 1)
    return False
