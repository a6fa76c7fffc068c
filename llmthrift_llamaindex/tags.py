"""What LlamaIndex's `instrument_tags` say to llmthrift: attribution, and the run of a workflow.

Tags belong to the application and to the framework, which puts the user's own text among them (`llamaindex.step.input_summary`): only
names that mean something here are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llama_index_instrumentation.dispatcher import active_instrument_tags

from llmthrift_core.attribution import EMPTY, FIELDS, Attribution, attribution_of

_RUN_ID: Final = "llamaindex.run_id"
_INPUT_EVENT: Final = "llamaindex.step.input_event"
_AGENT_STEPS: Final = frozenset({"AgentSetup", "AgentInput"})


def active_tags() -> Mapping[str, Any]:
    """The tags of the surrounding `instrument_tags(...)` block."""
    return active_instrument_tags.get()


def attribution_of_tags(tags: Mapping[str, Any]) -> Attribution:
    """The attribution that tags give: `user`, `feature`, `session` and the rest by name, `tags` as a mapping.

    A value that is no text or number is passed over.
    """
    if not tags:
        return EMPTY
    named = {name: value for name in FIELDS if (value := tags.get(name)) is not None and isinstance(value, str | int | float)}
    given = tags.get("tags")
    pairs = None
    if isinstance(given, Mapping):
        pairs = {name: value for name, value in given.items() if isinstance(name, str) and isinstance(value, str | int | float)}
    return attribution_of(pairs, **named)


def workflow_run(tags: Mapping[str, Any]) -> str | None:
    """The id of the workflow run that a call belongs to."""
    run = tags.get(_RUN_ID)
    return run if isinstance(run, str) else None


def is_agent_step(tags: Mapping[str, Any]) -> bool:
    """Whether the call is made by an agent's own step, rather than by any other workflow."""
    return tags.get(_INPUT_EVENT) in _AGENT_STEPS
