"""Values that fit a JSON schema, filled with what a text mentions.

Covers what client libraries send as tool arguments and response formats: `$ref`, `allOf`, `anyOf`, `oneOf`, `const`, `enum`, `default`,
nested and recursive objects and arrays, nullable types, bounds, lengths and the common string formats. `pattern`, `not` and
conditionals are not honoured: a script answers those.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

QUOTED: Final = re.compile(r"'([^']+)'|\"([^\"]+)\"|`([^`]+)`")
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?")
_NAME: Final = re.compile(r"[A-Z][\w]*(?:[ ,]+[A-Z]\w*)*")
# Recursive schemas end here: what is optional is left out, what may be empty is empty.
_DEEP: Final = 6
# A schema that demands endless nesting cannot be satisfied; give up instead of filling the stack.
_ABYSS: Final = 60
_FORMATS: Final[Mapping[str, str]] = {
    "date": "2026-03-04",
    "date-time": "2026-03-04T10:30:00Z",
    "time": "10:30:00Z",
    "duration": "PT1H",
    "email": "ada@example.com",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000001",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}


def instance(schema: Mapping[str, Any], text: str) -> Any:
    """A value that fits the schema; the same for the same schema and text.

    >>> schema = {"type": "object", "properties": {"order_id": {"type": "integer"}, "urgent": {"enum": ["yes", "no"]}}}
    >>> instance(schema, "Where is order 1001? There is no hurry.")
    {'order_id': 1001, 'urgent': 'no'}
    """
    return _Maker(schema, text).make(schema, 0)


class _Maker:
    """Numbers and words of the text are used up in the order in which the schema asks for them."""

    def __init__(self, root: Mapping[str, Any], text: str) -> None:
        self._root = root
        self._text = text.lower()
        self._numbers = [float(number) for number in _NUMBER.findall(text)]
        # A sentence begins with a capital, too: the first name is rather a verb.
        self._words = ["".join(groups) for groups in QUOTED.findall(text)] or _NAME.findall(text)[1:] or [text[:80] or "text"]

    def make(self, schema: Any, depth: int) -> Any:
        if not isinstance(schema, Mapping) or depth > _ABYSS:
            return None
        if "$ref" in schema:
            return self.make({**self._resolve(schema["$ref"]), **{k: v for k, v in schema.items() if k != "$ref"}}, depth + 1)
        if "allOf" in schema:
            return self.make(self._merged(schema), depth + 1)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return next((value for value in schema["enum"] if str(value).lower() in self._text), schema["enum"][0])
        for union in ("anyOf", "oneOf"):
            if union in schema:
                return self.make(self._chosen(schema[union], depth), depth + 1)
        return self._of_type(_kind(schema), schema, depth)

    def _of_type(self, kind: str | None, schema: Mapping[str, Any], depth: int) -> Any:
        if kind == "object":
            properties = schema.get("properties") or {}
            wanted = schema.get("required") or () if depth > _DEEP else [*properties, *schema.get("required", ())]
            return {name: self.make(properties.get(name, {"type": "string"}), depth + 1) for name in dict.fromkeys(wanted)}
        if kind == "array":
            return self._array(schema, depth)
        if kind in ("integer", "number"):
            return self._number(schema, whole=kind == "integer")
        if kind == "boolean":
            return True
        if kind == "null":
            return None
        return self._string(schema)

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        if first := schema.get("prefixItems"):
            return [self.make(part, depth + 1) for part in first]
        least = schema.get("minItems", 0)
        count = least if depth > _DEEP or schema.get("maxItems") == 0 else max(least, 1)
        return [self.make(schema.get("items") or {"type": "string"}, depth + 1) for _ in range(count)]

    def _number(self, schema: Mapping[str, Any], *, whole: bool) -> int | float:
        value = self._numbers.pop(0) if self._numbers else 1.0
        step = schema.get("multipleOf") or (1 if whole else None)
        nudge = step or 0.5
        low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
        if "exclusiveMinimum" in schema:
            low = max(low, schema["exclusiveMinimum"] + nudge)
        if "exclusiveMaximum" in schema:
            high = min(high, schema["exclusiveMaximum"] - nudge)
        value = max(low, min(value, high))
        if step:  # upwards, unless that leaves the range
            upper = math.ceil(value / step) * step
            value = upper if upper <= high else math.floor(value / step) * step
        return int(value) if whole else float(value)

    def _string(self, schema: Mapping[str, Any]) -> str:
        if (formatted := _FORMATS.get(schema.get("format", ""))) is not None:
            return formatted
        word = self._words.pop(0) if len(self._words) > 1 else self._words[0]
        return word[: schema.get("maxLength", 400)].ljust(schema.get("minLength", 0), "-")

    def _chosen(self, options: list[Any], depth: int) -> Any:
        """The first option that is not null; in the depths, null if it is offered."""
        is_null = [isinstance(option, Mapping) and option.get("type") == "null" for option in options]
        if depth > _DEEP and any(is_null):
            return {"type": "null"}
        return next((option for option, null in zip(options, is_null, strict=True) if not null), {"type": "null"})

    def _merged(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        merged: dict[str, Any] = {}
        parts = [*schema["allOf"], {key: value for key, value in schema.items() if key != "allOf"}]
        for part in parts:
            resolved = self._resolve(part["$ref"]) if "$ref" in part else part
            properties = {**merged.get("properties", {}), **resolved.get("properties", {})}
            required = [*merged.get("required", ()), *resolved.get("required", ())]
            merged = {**merged, **resolved, **({"properties": properties} if properties else {}), "required": required}
        return merged

    def _resolve(self, reference: str) -> Mapping[str, Any]:
        target: Any = self._root
        for part in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
            target = target.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(target, Mapping) else {}
        return target if isinstance(target, Mapping) else {}


def _kind(schema: Mapping[str, Any]) -> str | None:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema or "required" in schema else "array" if "items" in schema else None
    return kind
