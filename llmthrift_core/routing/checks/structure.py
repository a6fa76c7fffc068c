"""A check of structured answers and tool calls against what was asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from llmthrift_core.errors import ConfigurationError, MissingExtraError
from llmthrift_core.routing.checks.check import Finding
from llmthrift_core.routing.types import ToolCall

logger = logging.getLogger("llmthrift")

_FENCE: Final = "```"
_FITS: Final = Finding(1.0, "its structure is what was asked for")
Schema = Any
"""A JSON schema as a mapping, or a pydantic class."""


class StructureCheck:
    """An answer that should be JSON must be, and fit its schema; a called tool must be one that was offered, with arguments that fit.

    A verifier: an answer that the application could not parse is of no use to it, however likely it reads. It says nothing of an answer in
    plain text, of tools whose format it does not know, and of a schema that is none itself. Where a pydantic class is known, it decides, as
    it will in the application ("3" is a number then); a JSON schema is validated by `jsonschema`. Without that package (the extra `routing`
    brings it) only pydantic classes, the names of tools and the syntax of JSON are checked, which is logged once. References to schemas
    elsewhere are not followed.

    Args:
        schema: what each answer's text must fit; None is what the call itself asks for, if anything.

    Raises:
        ConfigurationError: a schema that is neither a mapping nor a pydantic class.
        MissingExtraError: a JSON schema is given, and jsonschema is not installed.

    >>> from llmthrift_core.routing.checks import StructureCheck
    >>> check = StructureCheck({"type": "object", "required": ["city"]})
    >>> check("Where is it?", '{"city": "Oslo"}', {}).score, check("Where is it?", '{"town": "Oslo"}', {}).reason
    (1.0, "it breaks the rule 'required' of its schema")
    """

    accepts_from: Final = 1.0
    waits: Final = False

    def __init__(self, schema: Schema | None = None) -> None:
        if schema is not None and not isinstance(schema, Mapping) and not _is_class(schema):
            raise ConfigurationError(f"schema must be a JSON schema or a pydantic class, not {type(schema).__name__}")
        if isinstance(schema, Mapping):
            try:
                import jsonschema  # noqa: F401 - it was asked for, so its absence is said now
            except ImportError:
                raise MissingExtraError("routing", "jsonschema") from None
        self._schema = schema
        self._warned = False

    @property
    def name(self) -> str:
        if self._schema is None:
            return "structure"
        schema = self._schema.model_json_schema() if _is_class(self._schema) else self._schema
        return f"structure {json.dumps(schema, sort_keys=True, default=str)}"

    def __call__(self, prompt: str, answer: str, context: Mapping[str, Any]) -> Finding | None:
        """1 or 0; None where no structure is asked for."""
        calls = context.get("tool_calls")
        if calls:
            return self._of_calls(calls, context.get("tools"))
        if context.get("tool_required"):
            return Finding(0.0, "it calls no tool, although one must be called")
        schema = context.get("schema") if self._schema is None else self._schema
        if schema is None:
            return None
        text = answer.strip().removeprefix(_FENCE + "json").removeprefix(_FENCE).removesuffix(_FENCE)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return Finding(0.0, "it is not the JSON that was asked for")
        broken = self._broken_rule(schema, value)
        return _FITS if broken is None else Finding(0.0, f"it breaks the rule {broken!r} of its schema")

    def _of_calls(self, calls: tuple[ToolCall, ...], tools: Mapping[str, Schema] | None) -> Finding:
        for call in calls:
            if tools is not None and call.name not in tools:
                return Finding(0.0, "it calls a tool that was not offered")
            if not isinstance(call.arguments, Mapping):
                return Finding(0.0, f"the arguments for {call.name} are not a JSON object")
            if tools is not None and (broken := self._broken_rule(tools[call.name], call.arguments)) is not None:
                return Finding(0.0, f"the arguments for {call.name} break the rule {broken!r} of their schema")
        return _FITS

    def _broken_rule(self, schema: Schema, value: Any) -> str | None:
        """The kind of the first rule that a value breaks, without the value; None: it fits, or that cannot be told."""
        if not isinstance(schema, Mapping):
            return _broken_by(schema, value)
        try:
            from jsonschema.validators import Draft202012Validator, validator_for
            from referencing.jsonschema import EMPTY_REGISTRY  # the default registry would fetch what a schema refers to
        except ImportError:
            if not self._warned:
                self._warned = True
                logger.warning("JSON schemas are not checked: %s", MissingExtraError("routing", "jsonschema"))
            return None
        try:
            errors = validator_for(schema, default=Draft202012Validator)(schema, registry=EMPTY_REGISTRY).iter_errors(value)
            first = next(iter(errors), None)
        except Exception as error:  # the schema is none, or refers to another: no fault of the answer
            logger.debug("a schema cannot be used to check answers: %s", type(error).__name__)
            return None
        return None if first is None else str(first.validator)


def _is_class(schema: Any) -> bool:
    return isinstance(schema, type) and hasattr(schema, "model_validate")


def _broken_by(schema: Any, value: Any) -> str | None:
    from pydantic import ValidationError

    try:
        schema.model_validate(value)
    except ValidationError as error:
        return str(error.errors(include_url=False, include_context=False, include_input=False)[0]["type"])
    except Exception as error:  # a validator of the application's own
        return type(error).__name__
    return None
