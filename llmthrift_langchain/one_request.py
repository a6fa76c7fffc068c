"""Completion prompts that LangChain sends in one request, and whose usage comes back in one sum.

`BaseLLM.generate` starts and ends a run for each prompt. It hands the request's usage to the first run and an empty one to the others,
in the order of the prompts, after the request is answered: so all of them are known before the first ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.outputs import Generation

from llmthrift_core.calls.request import Response
from llmthrift_core.usage.shares import shared_out
from llmthrift_langchain.open_runs import prompt_of, response_of_result
from llmthrift_langchain.usage import answer_text

if TYPE_CHECKING:
    from llmthrift_langchain.open_runs import OpenRun


@dataclass(slots=True, eq=False)
class _Ended:
    run: OpenRun
    generations: Sequence[Generation]
    llm_output: Mapping[str, Any] | None


@dataclass(slots=True, eq=False)
class RunsOfRequest:
    """The runs of one request.

    Attributes:
        parameters: LangChain's parameters of the request, the same object for every run.
    """

    parameters: Any
    _open: list[OpenRun] = field(default_factory=list, repr=False)
    _ended: list[_Ended] = field(default_factory=list, repr=False)

    def add(self, run: OpenRun) -> None:
        """Another prompt of the request."""
        self._open.append(run)

    def end(self, run: OpenRun, generations: Sequence[Generation], llm_output: Mapping[str, Any] | None) -> list[tuple[OpenRun, Response]]:
        """A run ended. Once the last has: every run that was answered, with its share of the usage."""
        self._ended.append(_Ended(run, generations, llm_output))
        return self.leave(run)

    def leave(self, run: OpenRun) -> list[tuple[OpenRun, Response]]:
        """A run ended that takes no part in the usage: it failed, or somebody else has recorded it. As `end`."""
        if run in self._open:
            self._open.remove(run)
        if self._open:
            return []
        ended, self._ended = self._ended, []
        responses = [response_of_result(each.run, each.generations, each.llm_output) for each in ended]
        reported = [response.usage for response in responses if response.usage is not None]
        if len(reported) == 1 and (reported[0].input_tokens or reported[0].output_tokens):
            sent = [len(str(prompt_of(each.run))) for each in ended]
            made = [len(answer_text(each.generations)) for each in ended]
            for response, share in zip(responses, shared_out(reported[0], sent, made), strict=True):
                response.usage, response.estimate = share, None  # a share of nothing is none that was left out
        return [(each.run, response) for each, response in zip(ended, responses, strict=True)]
