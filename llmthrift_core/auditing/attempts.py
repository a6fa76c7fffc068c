"""The most attempts that a question may take: retries, fallbacks and choices multiply each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from llmthrift_core.auditing.clients import DEFAULT_RETRIES, WRAPPING
from llmthrift_core.auditing.findings import Remark
from llmthrift_core.auditing.model_uses import ModelUse, ModelUses
from llmthrift_core.auditing.output_limits import output_limit
from llmthrift_core.display import counted, usd
from llmthrift_core.errors import LLMThriftError
from llmthrift_core.pricing.catalog import PriceCatalog

ANSWERS: Final = 10
"""So many paid answers to one question are worth a finding. A client by itself makes three to seven attempts."""
_TRYING: Final = frozenset(["tenacity.retry", "backoff.on_exception", "backoff.on_predicate"])


@dataclass(frozen=True)
class Worst:
    """One model's part of the worst case.

    Attributes:
        use: where the model is made or asked.
        attempts: how often it is asked at worst.
        choices: answers of each attempt.
    """

    use: ModelUse
    attempts: int
    choices: int


def find_amplified_costs(uses: ModelUses, prices: PriceCatalog) -> Iterator[Remark]:
    """Chains and calls that ask ten times and more for one answer. The outermost expression is told."""
    told: set[ast.AST] = set()
    for call in sorted(uses.module.calls, key=lambda call: (call.lineno, -(call.end_lineno or 0), -(call.end_col_offset or 0))):
        worst = worst_case(call, uses)
        answers = sum(part.attempts * part.choices for part in worst)
        if answers < ANSWERS or _is_part_of_more(call, uses, answers):
            continue
        models = {part.use.node for part in worst}
        if models <= told and isinstance(call.func, ast.Attribute) and call.func.attr not in ("with_retry", "with_fallbacks"):
            continue
        told |= models
        amount = _usd(worst, uses, prices)
        cost = "" if amount is None else f", {usd(amount)} with full contexts and outputs"
        yield Remark(
            "worst-case-cost",
            call,
            f"one question may be answered {answers:,} times at worst{cost} ({_terms(worst)}); "
            "retry in one place, e.g. max_retries=0 inside with_retry",
        )


def _is_part_of_more(call: ast.Call, uses: ModelUses, answers: int) -> bool:
    """Does what stands around the call, or is called on its name, multiply it further? Then that is told."""
    for other in uses.module.calls:
        if other is not call and isinstance(other.func, ast.Attribute) and other.func.attr in WRAPPING:
            parts = worst_case(other, uses)
            if sum(part.attempts * part.choices for part in parts) > answers:
                inner = {part.use.node for part in worst_case(call, uses)}
                if inner <= {part.use.node for part in parts}:
                    return True
    return any(isinstance(above, ast.Call) and worst_case(above, uses) for above in uses.module.ancestors(call))


def worst_case(node: ast.expr, uses: ModelUses, depth: int = 0) -> list[Worst]:
    """The models that an expression asks, each with its attempts."""
    module = uses.module
    node = module.origin(node)
    if depth > 12:
        return []
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return worst_case(node.left, uses, depth + 1) + worst_case(node.right, uses, depth + 1)
    if not isinstance(node, ast.Call):
        return []
    if (use := uses.of(node)) is not None:
        attempts = (1 + _retries(use, uses)) * (1 if use.is_model else _tries_around(node, uses))
        return [Worst(use, attempts, _number(use.arguments.named, ("n", "candidate_count"), 1, uses))]
    if not isinstance(node.func, ast.Attribute) or node.func.attr not in WRAPPING:
        return []
    inner = worst_case(node.func.value, uses, depth + 1)
    arguments = module.arguments(node)
    if node.func.attr == "with_retry":
        times = _number(arguments.named, ("stop_after_attempt",), 3, uses)
        return [replace(part, attempts=part.attempts * max(1, times)) for part in inner]
    if node.func.attr == "with_fallbacks" and inner:
        listed = arguments.named.get("fallbacks") or next(iter(arguments.positional), None)
        others = module.origin(listed) if listed is not None else None
        if isinstance(others, ast.List | ast.Tuple):
            inner = inner + [part for other in others.elts for part in worst_case(other, uses, depth + 1)]
    if node.func.attr == "bind":
        return [replace(part, choices=_number(arguments.named, ("n",), part.choices, uses)) for part in inner]
    return inner


def _number(named: dict[str, ast.expr], names: tuple[str, ...], default: int, uses: ModelUses) -> int:
    for name in names:
        if name in named and isinstance(value := uses.module.constant(named[name]), int):
            return value
    return default


def _retries(use: ModelUse, uses: ModelUses) -> int:
    default = DEFAULT_RETRIES.get(use.name, DEFAULT_RETRIES.get(use.family, 0))
    made = use.client
    if made is not None:
        default = _number(uses.module.arguments(made).named, ("max_retries",), default, uses)
    return max(0, _number(use.arguments.named, ("max_retries", "num_retries", "retries"), default, uses))


def _tries_around(call: ast.Call, uses: ModelUses) -> int:
    """How often the functions around a call are tried at most, by decorators of tenacity and backoff."""
    tries = 1
    for above in uses.module.ancestors(call):
        if isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in above.decorator_list:
                if isinstance(decorator, ast.Call) and (uses.module.qualified(decorator.func) or "") in _TRYING:
                    tries *= _most_tries(decorator, uses)
    return tries


def _most_tries(decorator: ast.Call, uses: ModelUses) -> int:
    """The tries that a decorator allows; one where it tells no number, such as a time."""
    for node in ast.walk(decorator):
        if isinstance(node, ast.Call) and (uses.module.qualified(node.func) or "").endswith("stop_after_attempt"):
            given = uses.module.arguments(node)
            most = given.named.get("max_attempt_number") or next(iter(given.positional), None)
            value = uses.module.constant(most) if most is not None else None
            return max(1, value) if isinstance(value, int) else 1
    return max(1, _number(uses.module.arguments(decorator).named, ("max_tries",), 1, uses))


def _terms(worst: list[Worst]) -> str:
    return " + ".join(
        f"{part.use.name}: {counted(part.attempts, 'attempt')}" + (f" x {counted(part.choices, 'choice')}" if part.choices > 1 else "")
        for part in worst
    )


def _usd(worst: list[Worst], uses: ModelUses, prices: PriceCatalog) -> Decimal | None:
    """The dollars of all attempts with a full context and a full output, where each model tells both."""
    total = Decimal(0)
    for part in worst:
        name = part.use.model(uses.module)
        try:
            price = prices.find(name) if name is not None else None
        except LLMThriftError:
            return None
        if price is None or price.input_usd_per_million is None or price.output_usd_per_million is None:
            return None
        limit = output_limit(part.use, uses.module)
        output = limit if isinstance(limit, int) else price.max_output_tokens
        if output is None or price.context_tokens is None:
            return None
        full_input = max(0, price.context_tokens - output) * price.input_usd_per_million
        total += part.attempts * (full_input + part.choices * output * price.output_usd_per_million) / 1_000_000
    return total
