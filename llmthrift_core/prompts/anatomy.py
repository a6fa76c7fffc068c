"""`analyze`: the tokens and dollars of a prompt's parts, and what could be spared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

from llmthrift_core.display import Printed, counted, html_table, percent, plain_table, usd
from llmthrift_core.errors import LLMThriftError
from llmthrift_core.outgoing.definitions import definitions_of
from llmthrift_core.prompts.counting import is_exact, tokens_of_reply, tokens_of_tool
from llmthrift_core.prompts.messages import messages_of, plain_messages
from llmthrift_core.prompts.parts import PARTS, read_messages
from llmthrift_core.prompts.suggestions import Costs, Suggestion, suggestions_for
from llmthrift_core.usage import Usage

if TYPE_CHECKING:
    from llmthrift_core.pricing import PriceCatalog

_NAMES = {
    "system": "system prompt",
    "tools": "tool definitions",
    "tool_results": "tool results",
    "question": "last question",
}


@dataclass(frozen=True, slots=True, repr=False)
class Anatomy(Printed):
    """A prompt by its parts.

    Attributes:
        model: whose tokenizer and prices counted; None: no model was named.
        total_tokens: all input tokens of the call, with what frames the messages.
        cost_usd: of the input, at the model's full input price; None where no price is known.
        exact: every text was counted by the model's own tokenizer, and nothing but text was sent.
        parts: tokens of "system", "tools", "examples", "history", "documents", "tool_results", "question" and "media". Their sum is the
            total.
        by_role: tokens by the role of the message; tool definitions are under "tools". Their sum is the total.
        suggestions: what could be spared, the largest saving first.
    """

    model: str | None
    total_tokens: int
    cost_usd: Decimal | None
    exact: bool
    parts: Mapping[str, int]
    by_role: Mapping[str, int]
    suggestions: tuple[Suggestion, ...]

    def part_usd(self, part: str) -> Decimal | None:
        """The dollars of a part: its share of the tokens, times the whole."""
        if self.cost_usd is None:
            return None
        return self.cost_usd * self.parts[part] / self.total_tokens if self.total_tokens else Decimal(0)

    def to_dicts(self) -> list[dict[str, Any]]:
        """A row for each part: part, tokens, share, cost_usd."""
        total = self.total_tokens or 1
        return [
            {"part": part, "tokens": tokens, "share": tokens / total, "cost_usd": self.part_usd(part)}
            for part, tokens in self.parts.items()
        ]

    def to_text(self) -> str:
        """A table of the parts that are there, and the suggestions."""
        table = plain_table(["part", "tokens", "share", "cost"], self._rows(), total=self._total())
        lines = [f"- {each.text}{_saving(each)}" for each in self.suggestions]
        return "\n".join([table, *(["", "What could be spared:", *lines] if lines else [])])

    def _repr_html_(self) -> str:
        """For notebooks."""
        items = "".join(f"<li>{escape(each.text + _saving(each))}</li>" for each in self.suggestions)
        table = html_table(["part", "tokens", "share", "cost"], self._rows(), total=self._total())
        return table + (f"<p>What could be spared:</p><ul>{items}</ul>" if items else "")

    def _rows(self) -> list[list[Any]]:
        return [
            [_NAMES.get(row["part"], row["part"]), row["tokens"], percent(row["share"]), _known(row["cost_usd"])]
            for row in self.to_dicts()
            if row["tokens"]
        ]

    def _total(self) -> list[Any]:
        about = "" if self.exact else "about "
        return ["total", f"{about}{self.total_tokens:,}", percent(1.0), _known(self.cost_usd)]


def _known(amount: Decimal | None) -> Decimal | str:
    return "unknown" if amount is None else amount


def analyze(
    messages: str | Mapping[str, Any] | Iterable[Any],
    model: str | None = None,
    tools: Sequence[Any] | None = None,
    prices: PriceCatalog | None = None,
) -> Anatomy:
    """The parts of a prompt.

    Args:
        messages: a text, dicts in the shape of OpenAI's chat, a whole chat request with its "messages" and "tools", messages of LangChain
            or LlamaIndex, or what a prompt template of LangChain makes.
        model: its tokenizer counts and its prices apply. Of a request it may say so itself.
        tools: those that are sent along: their definitions in any provider's shape, or tools of LangChain or LlamaIndex.
        prices: the built-in price lists where none are given.

    >>> anatomy = analyze([{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": "Why is the sky blue?"}], "gpt-4o")
    >>> anatomy.parts["system"], anatomy.parts["question"], anatomy.total_tokens
    (7, 13, 20)
    """
    if isinstance(messages, Mapping):
        model = model or (given if isinstance(given := messages.get("model"), str) else None)
        tools = tools if tools is not None else messages.get("tools")
    listed = plain_messages(messages_of(messages))
    defined = definitions_of(tools) if isinstance(tools, Sequence) and not isinstance(tools, str) else []
    tool_tokens = [tokens_of_tool(definition.text, model) for definition in defined]
    read = read_messages(listed, model)
    parts = dict.fromkeys(PARTS, 0)
    by_role: dict[str, int] = {}
    for message in read:
        for part, tokens in message.by_part.items():
            parts[part] += tokens
        by_role[message.role or "other"] = by_role.get(message.role or "other", 0) + message.tokens
    parts["tools"] += sum(tool_tokens)
    if defined:
        by_role["tools"] = sum(tool_tokens)
    reply = tokens_of_reply(model)  # what primes the answer belongs to the question
    parts["question"] += reply
    by_role["user"] = by_role.get("user", 0) + reply
    total = sum(parts.values())
    costs = _costs(model, prices)
    return Anatomy(
        model=model,
        total_tokens=total,
        cost_usd=costs.of(total),
        exact=is_exact(model) and not (parts["media"] or defined or parts["tool_results"]),
        parts=parts,
        by_role=by_role,
        suggestions=suggestions_for(listed, read, [definition.name for definition in defined], tool_tokens, parts, costs),
    )


def _costs(model: str | None, prices: PriceCatalog | None) -> Costs:
    def price(tokens: int, cached: int = 0) -> Decimal | None:
        if model is None:
            return None
        try:
            return catalog.cost(Usage(input_tokens=tokens, cache_read_tokens=cached), model).usd
        except LLMThriftError:
            return None

    catalog = prices if prices is not None else _built_in()
    return Costs(price)


@cache
def _built_in() -> PriceCatalog:
    from llmthrift_core.pricing import PriceCatalog

    return PriceCatalog()


def _saving(suggestion: Suggestion) -> str:
    dollars = "" if suggestion.saved_usd is None else f", {usd(suggestion.saved_usd)}"
    return f" (saves {counted(suggestion.saved_tokens, 'token')}{dollars} a call)"
