"""`budgeted`: agents of LlamaIndex whose runs stay within budgets, and end gracefully where one is used up."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from llama_index.core.agent.workflow import AgentWorkflow
from llama_index.core.agent.workflow.base_agent import BaseWorkflowAgent
from llama_index.core.agent.workflow.workflow_events import AgentOutput
from llama_index.core.workflow import HumanResponseEvent, InputRequiredEvent

from llmthrift_core.background.off_loop import in_thread
from llmthrift_core.budgets.raising import concerns, question_of_refusal, raise_limits, refusal_of
from llmthrift_core.calls.agent_limits import AgentLimits, OnExceeded
from llmthrift_core.calls.refusals import mark_of_refusal
from llmthrift_core.errors import BudgetExceededError, ConfigurationError
from llmthrift_core.texts import require_thrift
from llmthrift_llamaindex.agent_llm import AgentLLM, ended_by_tool, polite_response, scope_here
from llmthrift_llamaindex.router import RouterLLM
from llmthrift_llamaindex.thrifty_model import ThriftyLLM, options_of, unwrapped

if TYPE_CHECKING:
    from llmthrift_core.calls.shortening import ShorteningPolicy
    from llmthrift_core.thrift import Thrift

_REFUSED: Final = "llmthrift_refused"
"""Where a run keeps the refusal of a tool until its next step."""
Agent = TypeVar("Agent", bound="BaseWorkflowAgent | AgentWorkflow")
_OF_A_ROUTER: Final = (
    *("models", "policy", "cache", "semantic", "semantic_ttl_seconds", "extract_question", "shorten", "output", "prompt_caching", "tuning"),
    *("fallbacks", "max_tier", "baseline"),
)


def budgeted(
    agent: Agent,
    thrift: Thrift,
    *,
    models: Mapping[str, Any] | None = None,
    on_exceeded: OnExceeded = "raise",
    soft: float | None = None,
    tells_model: bool = True,
    soft_tier: str | None = None,
    soft_shorten: ShorteningPolicy | None = None,
    summary_tokens: int = 500,
    **options: Any,
) -> Agent:
    """A copy of an agent, or of a workflow of agents, whose model calls are metered, routed and within budgets.

    A budget `per="run"` bounds a run with the agents that it hands over to and those inside of its tools; `per="session"` all runs of a
    session. The class of the agent stays.

    Args:
        agent: a FunctionAgent, a ReActAgent, another agent of these, or an AgentWorkflow.
        thrift: prices, cache, budgets and ledger.
        models: tiers for a router, cheapest first; None keeps each agent's own model, or the models of its RouterLLM.
        on_exceeded: what a refusal by a budget does. "raise" lets BudgetExceededError end the run; "stop" ends it with a message that says
            which budget refused and why; "end" with a polite one; "summarize" with what a last call without tools sums up, by the cheapest
            model. Room for it is kept from the first call on. Where tools took a part of it, the summary is shorter; where nothing is left,
            the run ends politely. "ask" writes an InputRequiredEvent to the run's events, and waits for a HumanResponseEvent: its
            `response` is a mapping of higher limits, such as {"limit_usd": 0.1}, or None, which ends the run politely. An agent inside of a
            tool has nobody to ask: give it another exit. What a tool costs (`thrift.costs`), or an agent inside of it, is refused alike:
            the tool is not called or does not end, and the run ends in place of its next call; with "ask" the model is asked again.
        soft: share of a budget's limit from which on the agent is to spare; None: it is never told.
        tells_model: past `soft`, each prompt ends with a line that says what is left. It is part of the prompt, and billed so.
        soft_tier: past `soft`, no tier of the router above this one.
        soft_shorten: past `soft`, what makes prompts shorter, such as `Shorten([steps.History(max_tokens=2_000)])`.
        summary_tokens: how long the summary may be, and about how much of the conversation it is made of.
        options: as for `RouterLLM`.

    Raises:
        ConfigurationError: no agent, or an option that cannot be used.

    >>> import asyncio
    >>> from llama_index.core.agent.workflow import ReActAgent
    >>> from llama_index.core.llms import MockLLM
    >>> from llmthrift_core import Budget, Thrift
    >>> from llmthrift_llamaindex import budgeted
    >>> thrift = Thrift(":memory:")
    >>> _ = thrift.budgets.add(Budget(limit_requests=0, per="run"))
    >>> agent = budgeted(ReActAgent(llm=MockLLM()), thrift, on_exceeded="end")
    >>> async def go():
    ...     return await agent.run("Go")
    >>> print(asyncio.run(go()))
    I cannot go on with this now: the budget for it is used up.
    """
    require_thrift(thrift, "budgeted")
    limits = AgentLimits(
        on_exceeded=on_exceeded,
        soft=soft,
        tells_model=tells_model,
        soft_tier=soft_tier,
        soft_shorten=soft_shorten,
        summary_tokens=summary_tokens,
    )
    if isinstance(agent, AgentWorkflow):
        flow = copy(agent)
        flow.agents = {name: _bounded(each, thrift, models, limits, options) for name, each in agent.agents.items()}
        return flow
    if not isinstance(agent, BaseWorkflowAgent):
        raise ConfigurationError(f"agent must be an agent or an AgentWorkflow of LlamaIndex, not {type(agent).__name__}")
    return cast("Agent", _bounded(agent, thrift, models, limits, options))


def _bounded(
    agent: BaseWorkflowAgent, thrift: Thrift, models: Mapping[str, Any] | None, limits: AgentLimits, options: dict[str, Any]
) -> BaseWorkflowAgent:
    made = copy(agent)
    made.llm = AgentLLM(thrift, limits=limits, **{**_router_of(agent.llm, models), **options})
    base: type[BaseWorkflowAgent] = type(agent)
    made.__class__ = base if issubclass(base, _Ends) else _ending(base)
    cast("Any", made)._llmthrift = thrift, limits
    return made


def _router_of(llm: Any, models: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields of a router in place of an agent's LLM."""
    if isinstance(llm, RouterLLM):
        fields = {name: getattr(llm, name) for name in _OF_A_ROUTER}
    elif isinstance(llm, ThriftyLLM):
        fields = {name: value for name, value in options_of(llm).items() if name != "on_budget"} | {
            "models": {"model": unwrapped(cast("Any", llm))}
        }
    else:
        fields = {"models": {"model": llm}}
    return fields if models is None else {**fields, "models": models}


class _Ends:
    """Ends its runs as it is told where a budget refused a tool, and asks for a higher limit where one refuses a step."""

    _llmthrift: tuple[Thrift, AgentLimits]

    async def handle_tool_call_results(self, ctx: Any, results: Any, memory: Any) -> None:
        await cast("BaseWorkflowAgent", super()).handle_tool_call_results(ctx, results, memory)
        for result in results:
            refused = getattr(result.tool_output, "exception", None)
            # An agent in the tool may have had a budget of its own: this one goes on then.
            if isinstance(refused, BudgetExceededError) and await in_thread(
                partial(concerns, self._llmthrift[0].budgets, refused, scope_here())
            ):
                if self._llmthrift[1].on_exceeded == "raise":
                    raise refused
                await ctx.store.set(_REFUSED, mark_of_refusal(refused) | question_of_refusal(refused))
                return

    async def take_step(self, ctx: Any, llm_input: Any, tools: Any, memory: Any) -> AgentOutput:
        agent = cast("BaseWorkflowAgent", super())
        if not hasattr(ctx, "wait_for_event"):  # outside of a workflow
            return await agent.take_step(ctx, llm_input, tools, memory)
        output: AgentOutput | None
        while True:
            told = await ctx.store.get(_REFUSED, default=None)
            with ended_by_tool(None if told is None else refusal_of(told)):
                try:
                    output = await agent.take_step(ctx, llm_input, tools, memory)
                except BudgetExceededError as refused:
                    if self._llmthrift[1].on_exceeded != "ask":
                        raise
                    output = None if await self._goes_on(ctx, refused) else self._polite(refused)
            if told is not None:
                await ctx.store.set(_REFUSED, None)
            if output is not None:
                return output

    async def _goes_on(self, ctx: Any, refused: BudgetExceededError) -> bool:
        """Wait for an answer: True where it raised the limit."""
        told = question_of_refusal(refused)
        # A step that waits runs anew when its answer has come. By its own name, no question is answered by an earlier answer.
        limits = ", ".join(f"{name}={value}" for name, value in told.items() if name.startswith("limit_"))
        answer = await ctx.wait_for_event(
            HumanResponseEvent,
            waiter_event=InputRequiredEvent(prefix=str(refused), **told),
            waiter_id=f"llmthrift {refused.budget} {refused.scope} {limits}",
        )
        return await in_thread(partial(raise_limits, self._llmthrift[0].budgets, refused, answer.get("response")))

    def _polite(self, refused: BudgetExceededError) -> AgentOutput:
        response, name = polite_response(refused), cast("BaseWorkflowAgent", self).name
        return AgentOutput(response=response.message, tool_calls=[], raw=response.raw, current_agent_name=name)


@lru_cache(maxsize=64)
def _ending(base: type[BaseWorkflowAgent]) -> type[BaseWorkflowAgent]:
    metaclass: Any = type(base)
    namespace = {"__module__": __name__, "__doc__": base.__doc__}
    return cast("type[BaseWorkflowAgent]", metaclass(base.__name__, (_Ends, base), namespace))
