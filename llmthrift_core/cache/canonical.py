"""The canonical form: a value as text that is the same for equal values and different for all others.

Plain data becomes JSON: no white space, keys sorted by code point, text as UTF-8 (a lone surrogate in the three bytes that
UTF-8 would give it), numbers as orjson writes them. What JSON lacks is written as `@kind"..."`, which no JSON text contains
outside of its strings, so that neither can be taken for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from json import JSONEncoder
from math import isfinite
from typing import Any
from uuid import UUID

from llmthrift_core.errors import LLMThriftError

_quote = JSONEncoder(ensure_ascii=False).encode
_NAMES = {True: "true", False: "false", None: "null"}


class UncacheableError(LLMThriftError, ValueError):
    """A request that cannot be told apart from others, so that its answer must not be cached."""


def encode(value: Any) -> bytes:
    """The canonical form of a value.

    Accepted are None, bool, int of any size, float, str, lists and tuples (alike), mappings, sets, bytes, Decimal, date and
    time types, UUID (as its text), members of enumerations (as their value), pydantic classes (as their JSON schema) and
    pydantic objects (as their fields).

    Raises:
        UncacheableError: anything else, such as a function, or a value that contains itself.

    >>> encode({"b": 1.0, "a": [None, "é"]}).decode()
    '{"a":[null,"é"],"b":1.0}'
    >>> encode(Decimal("1.50")).decode()
    '@decimal"1.50"'
    """
    pieces: list[str] = []
    try:
        _write(value, pieces.append)
    except RecursionError:
        raise UncacheableError("a value that is nested too deeply, or contains itself, cannot be part of a cache key") from None
    return "".join(pieces).encode("utf-8", "surrogatepass")


def float_text(value: float) -> str:
    """A finite float as orjson writes it: its shortest digits, from 1e-5 on without an exponent.

    >>> float_text(1e-05), float_text(1e-06), float_text(1e16), float_text(0.7)
    ('0.00001', '1e-6', '1e+16', '0.7')
    """
    text = float.__repr__(value)
    mantissa, separator, exponent = text.partition("e")
    if not separator:
        return text
    if exponent == "-05":
        sign, digits = ("-", mantissa[1:]) if mantissa.startswith("-") else ("", mantissa)
        return f"{sign}0.0000{digits.replace('.', '')}"
    return f"{mantissa}e{int(exponent):+d}"


def is_plain(value: Any) -> bool:
    """Whether a value is nothing but JSON data with finite numbers, so that orjson writes it as `encode` does."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return True
    if kind is float:
        return isfinite(value)
    if kind is dict:
        return all(map(is_plain, value.values()))
    return (kind is list or kind is tuple) and all(map(is_plain, value))


def _write(value: Any, put: Callable[[str], object]) -> None:
    kind = type(value)
    if kind is str:
        put(_quote(value))
    elif value is None or kind is bool:
        put(_NAMES[value])
    elif kind is dict:
        _write_mapping(value, put)
    elif kind is list or kind is tuple:
        _write_items(value, put)
    elif isinstance(value, Enum):
        _write(value.value, put)
    elif isinstance(value, str):
        put(_quote(str.__str__(value)))
    elif isinstance(value, int):
        put(_int_text(value))
    elif isinstance(value, float):
        put(float_text(value) if isfinite(value) else f'@float"{float.__repr__(value)}"')
    elif isinstance(value, Mapping):
        _write_mapping(value, put)
    elif isinstance(value, list | tuple):
        _write_items(value, put)
    else:
        _write_special(value, put)


def _write_mapping(mapping: Mapping[Any, Any], put: Callable[[str], object]) -> None:
    texts = {_key_text(key): value for key, value in mapping.items()}
    if len(texts) != len(mapping):
        raise UncacheableError("a mapping whose keys are the same text cannot be part of a cache key")
    before = "{"
    for key in sorted(texts):
        put(before + _quote(key) + ":")
        _write(texts[key], put)
        before = ","
    put("{}" if before == "{" else "}")


def _write_items(items: list[Any] | tuple[Any, ...], put: Callable[[str], object]) -> None:
    before = "["
    for item in items:
        put(before)
        _write(item, put)
        before = ","
    put("[]" if before == "[" else "]")


def _write_special(value: Any, put: Callable[[str], object]) -> None:
    if isinstance(value, UUID):
        put(_quote(str(value)))
    elif isinstance(value, bytes | bytearray | memoryview):
        put(f'@bytes"{bytes(value).hex()}"')
    elif isinstance(value, datetime | date | time):
        put(f'@{type(value).__name__}"{value.isoformat()}"')
    elif isinstance(value, timedelta):
        put(f'@timedelta"{value.days}d{value.seconds}s{value.microseconds}"')
    elif isinstance(value, Decimal):
        put(f'@decimal"{value}"')
    elif isinstance(value, Set):
        put("@set[" + ",".join(sorted(encode(item).decode("utf-8", "surrogatepass") for item in value)) + "]")
    elif isinstance(value, type) and callable(schema := getattr(value, "model_json_schema", None)):
        put("@schema")
        _write(_described(value, schema), put)
    elif not isinstance(value, type) and callable(dump := getattr(value, "model_dump", None)):
        put(f"@model{_quote(type(value).__qualname__)}")
        _write(_described(type(value), dump), put)
    else:
        raise _uncacheable(value)


def _described(model: type, describe: Callable[[], Any]) -> Any:
    try:
        return describe()
    except Exception as error:  # whatever the class's own hooks raise
        raise UncacheableError(f"class {model.__qualname__} cannot describe itself ({type(error).__name__})") from None


def _key_text(key: Any) -> str:
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, str):
        return str.__str__(key)
    # As JSON encoders write such keys on their way to a provider.
    if key is None or isinstance(key, bool):
        return _NAMES[key]
    if isinstance(key, int):
        return _int_text(key)
    if isinstance(key, float):
        return float_text(key) if isfinite(key) else float.__repr__(key)
    raise _uncacheable(key)


def _int_text(value: int) -> str:
    try:
        return int.__repr__(value)
    except ValueError:  # beyond Python's limit of 4,300 decimal digits
        return f'@int"{value:x}"'


def _uncacheable(value: Any) -> UncacheableError:
    what = f"class {value.__qualname__}" if isinstance(value, type) else f"a value of type {type(value).__qualname__}"
    return UncacheableError(f"{what} cannot be part of a cache key: another one could look the same")
