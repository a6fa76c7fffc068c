"""Keys: equal requests share one, requests that differ in anything never do, with or without orjson."""

from __future__ import annotations

import datetime as dt
import enum
import subprocess
import sys
import uuid
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmthrift_core.cache import keys
from llmthrift_core.cache.keys import UncacheableError, canonical_json, digest, encode, float_text

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.text(alphabet='"\\\x00\x1f\x7f\u2028é漢😀n@', max_size=8),
    st.sampled_from(["null", "@bytes", "\ud800", 2**63, 2**64, -(2**63) - 1, float("nan"), float("inf"), 1e16, 1e-5, -1.5e-5]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=4)),
    max_leaves=12,
)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Name(str):
    pass


class Answer(pydantic.BaseModel):
    text: str


def test_orjson_is_used_here() -> None:
    assert keys._encode_plain is not None


@given(values)
@example({"a": float("nan"), "b": None})
@example([1e-5, 1.5e-05, 1e16, 1e22, 5e-324, -0.0, 1e-6, 123456789012345680.0])
@example({"\ud800": "\udfff", "\uffff": 1, "\U00010000": 2})
@example(["null", None, 2**64, -(2**63)])
def test_orjson_and_the_standard_library_make_the_same_bytes(value: Any) -> None:
    assert canonical_json(value) == encode(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_written_so_that_they_read_back(value: float) -> None:
    assert float(float_text(value)) == value
    assert canonical_json(value).decode() == float_text(value)


@pytest.mark.parametrize(
    "value",
    [Colour.RED, Level.HIGH, Name("x"), {Name("k"): Name("v")}, {Colour.RED: 1}, (1, (2,)), MappingProxyType({"b": 1, "a": 2}),
     uuid.UUID(int=7), b"\x00\xff", bytearray(b"a"), dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), dt.date(2026, 1, 2), dt.time(1, 2),
     dt.timedelta(days=-1, microseconds=1), Decimal("1.50"), {3, 1, 2}, frozenset({"a"}), Answer, Answer(text="hi"), {1: "a", None: "b"},
     10**5000, [float("-inf")], [[[]], {}]],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_every_accepted_type_has_one_form(value: Any) -> None:
    assert canonical_json(value) == encode(value)


def test_hand_written_forms() -> None:
    assert canonical_json({"b": [1, 1.0, True, None], "a": "é\n"}) == '{"a":"é\\n","b":[1,1.0,true,null]}'.encode()
    assert canonical_json({"x": 2**70}) == b'{"x":1180591620717411303424}'
    assert canonical_json(Colour.RED) == b'"red"'
    assert canonical_json(b"\x00\xff") == b'@bytes"00ff"'
    assert canonical_json("\ud800") == b'"\xed\xa0\x80"'
    assert canonical_json(float("nan")) == b'@float"nan"'
    assert canonical_json({2: 1, 10: 2}) == b'{"10":2,"2":1}'
    assert canonical_json(Decimal("1.50")) != canonical_json(Decimal("1.5"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0), (1, True), (0, False), (None, "null"), (None, float("nan")), ("1", 1), ([], {}), ([[]], []), ("", None),
        (float("inf"), float("-inf")), (0.0, -0.0), (b"a", "a"), (b"a", '@bytes"61"'), ({"a": None}, {}), (["ab"], ["a", "b"]),
        (dt.date(2026, 1, 1), "2026-01-01"), (dt.date(2026, 1, 1), dt.datetime(2026, 1, 1)), ({1}, [1]), ("é", "e\u0301"),
    ],
)  # fmt: skip
def test_values_that_differ_never_look_the_same(one: Any, other: Any) -> None:
    assert canonical_json(one) != canonical_json(other)


@given(values, values)
def test_the_form_is_injective(one: Any, other: Any) -> None:
    assert (canonical_json(one) == canonical_json(other)) == (_typed(one) == _typed(other))


def _typed(value: Any) -> Any:
    """Equality that tells 1 from 1.0 and True, and finds NaN equal to itself."""
    if isinstance(value, dict):
        return {key: _typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner) for inner in value]
    return type(value).__name__, repr(value)


@given(st.dictionaries(st.text(max_size=3), st.integers(), max_size=6), st.randoms())
def test_the_order_of_arguments_does_not_matter(mapping: dict[str, int], random: Any) -> None:
    items = list(mapping.items())
    random.shuffle(items)
    assert canonical_json(dict(items)) == canonical_json(mapping)


@pytest.mark.parametrize(
    "value", [object(), print, lambda: None, type("Plain", (), {}), iter([]), 1j, ..., {object(): 1}, {1: "a", "1": "b"}]
)
def test_what_another_object_could_look_like_is_refused(value: Any) -> None:
    with pytest.raises(UncacheableError):
        canonical_json([value])


def test_the_refusal_names_the_type_and_not_the_value() -> None:
    class Secret:
        def __repr__(self) -> str:
            return "sk-12345"

    with pytest.raises(UncacheableError) as caught:
        canonical_json({"key": Secret()})
    assert "Secret" in str(caught.value)
    assert "sk-12345" not in str(caught.value)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(UncacheableError, match="nested"):
        canonical_json(loop)


def test_deep_but_finite_nesting_has_a_key() -> None:
    deep: Any = "core"
    for _ in range(400):  # beyond orjson's limit of 254
        deep = [deep]
    assert canonical_json(deep) == b"[" * 400 + b'"core"' + b"]" * 400


def test_a_class_is_known_by_its_schema_and_not_by_its_name() -> None:
    def made(kind: type) -> type[pydantic.BaseModel]:
        return pydantic.create_model("Foo", field=(kind, ...))

    assert canonical_json(made(int)) == canonical_json(made(int))
    assert canonical_json(made(int)) != canonical_json(made(str))


def test_a_class_without_a_schema_is_refused() -> None:
    class Odd(pydantic.BaseModel):
        @classmethod
        def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
            raise RuntimeError("a secret")

    with pytest.raises(UncacheableError) as caught:
        canonical_json(Odd)
    assert "a secret" not in str(caught.value)


# --- digest ---

parts = st.lists(st.binary(max_size=4), max_size=4)


@given(st.text(alphabet="ab\ud800", max_size=3), parts, st.text(alphabet="ab\ud800", max_size=3), parts)
def test_no_bytes_move_between_parts_or_namespaces(one: str, some: list[bytes], other: str, more: list[bytes]) -> None:
    assert (digest(one, *some) == digest(other, *more)) == ((one, some) == (other, more))


def test_digest_is_20_bytes_and_does_not_change_between_releases() -> None:
    assert len(digest("tenant")) == 20
    # BLAKE2b-160 over the version and the length-prefixed namespace and part.
    import hashlib

    by_hand = b"llmthrift-key-1" + b"\0\0\0\0\0\0\0\x01n" + b"\0\0\0\0\0\0\0\x02ab"
    assert digest("n", b"ab") == hashlib.blake2b(by_hand, digest_size=20).digest()


roles = st.sampled_from(["human", "ai", "system"])
messages = st.lists(st.tuples(roles, st.text(alphabet='ab"[],:', max_size=4)), max_size=4)


@given(messages, messages)
def test_text_does_not_move_between_messages_or_roles(one: list[Any], other: list[Any]) -> None:
    assert (digest("n", canonical_json(one)) == digest("n", canonical_json(other))) == (one == other)


def test_keys_without_orjson_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"messages": [["human", "Wie geht's? 漢 \ud800"], ["ai", None]], "temperature": 1e-05, "top": 1e22, "seed": 2**65}
    program = (
        "import sys; sys.modules['orjson'] = None\n"
        "from llmthrift_core.cache import keys\n"
        "assert keys._encode_plain is None\n"
        f"print(keys.digest('n', keys.canonical_json({value!r})).hex())"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == digest("n", canonical_json(value)).hex()


def test_an_orjson_that_writes_floats_differently_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import orjson

    class Other:
        dumps = staticmethod(lambda value: orjson.dumps(value).replace(b"e+", b"e"))

    monkeypatch.setitem(sys.modules, "orjson", Other)
    assert keys._orjson_encoder() is None


def test_a_large_prompt_and_a_long_history() -> None:
    assert len(digest("n", canonical_json("x" * 1_000_000))) == 20
    history = [["human", f"message {number}"] for number in range(10_000)]
    assert canonical_json(history) == encode(history)
    assert canonical_json([]) == b"[]"
    assert canonical_json({}) == b"{}"
    assert canonical_json("") == b'""'
