"""Stored routers and cascades that were damaged, or made to do harm."""

from __future__ import annotations

import io
import json
import random
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from llmthrift_core.errors import ConfigurationError, StorageError
from llmthrift_core.routing import Cascade, Example, LearnedRouter
from tests.long import LONG

REFUSED = (ConfigurationError, StorageError)
MODELS = ("weak", "strong")


def _router() -> bytes:
    asked = [(f"question {number} about a {'refund' if number % 2 else 'state'}", number) for number in range(60)]
    examples = [
        Example(text, model, float(model == "strong" or place % 2 == 0), f"s{place % 3}") for text, place in asked for model in MODELS
    ]
    return LearnedRouter(models={"weak": 0.6, "strong": 12.0}).fit(examples).to_bytes()


def _cascade() -> bytes:
    sums = [Example(f"What is {n} + {n}?", "weak", float(n % 2), answer=f"{n} + {n} = {2 * n + (n % 2 == 0)}") for n in range(80)]
    return Cascade(MODELS).fit(sums).to_bytes()


def _use_router(data: bytes) -> None:
    router = LearnedRouter.from_bytes(data)
    assert router.decide("What is the state of order 7?", "s1").model in router.models
    assert router.decide("\ud800").model in router.models
    assert router.version


def _use_cascade(data: bytes) -> None:
    cascade = Cascade.from_bytes(data)
    assert cascade.verdict("What is 1 + 1?", "2").reason
    assert cascade.version


@pytest.fixture(scope="module", params=[(_router, _use_router), (_cascade, _use_cascade)], ids=["router", "cascade"])
def stored(request: pytest.FixtureRequest) -> tuple[bytes, Callable[[bytes], None]]:
    make, use = request.param
    return make(), use


def parts(data: bytes) -> tuple[Any, dict[str, Any]]:
    with np.load(io.BytesIO(data)) as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(arrays.pop("header").tobytes()), arrays


def together(header: Any, arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8), **arrays)
    return file.getvalue()


def assert_refused_or_usable(use: Callable[[bytes], None], damaged: bytes) -> None:
    with suppress(*REFUSED):
        use(damaged)


def test_flipped_bits_and_missing_ends(stored: tuple[bytes, Callable[[bytes], None]]) -> None:
    data, use = stored
    chance = random.Random(0)
    ends = range(len(data) - 400, len(data))  # the directory, which no checksum covers
    for place in chance.sample([*range(200), *chance.sample(range(len(data)), 300), *ends], 900 if LONG else 250):
        assert_refused_or_usable(use, data[:place] + bytes([data[place] ^ (1 << chance.randrange(8))]) + data[place + 1 :])
        assert_refused_or_usable(use, data[:place])


@pytest.mark.parametrize("value", [None, -1, 1e308, float("nan"), "banana", [], {}, [["a", "b", "c"]], 10**400])
def test_headers_that_say_something_else(stored: tuple[bytes, Callable[[bytes], None]], value: Any) -> None:
    data, use = stored
    header, arrays = parts(data)
    inner = header.get("learned") or {}
    for name in header:
        assert_refused_or_usable(use, together({**header, name: value}, arrays))
        assert_refused_or_usable(use, together({each: header[each] for each in header if each != name}, arrays))
    for name in inner:
        assert_refused_or_usable(use, together({**header, "learned": {**inner, name: value}}, arrays))
    assert_refused_or_usable(use, together(value, arrays))


@pytest.mark.parametrize(
    "bend",
    [
        lambda array: array[:0],
        lambda array: array.astype("U8"),
        lambda array: np.full_like(array, -5),
        lambda array: np.full_like(array, 60_000),
        lambda array: np.full(array.shape, np.nan),
        lambda array: np.zeros((3, 3, 3)),
    ],
    ids=["empty", "text", "negative", "huge", "nan", "shape"],
)
def test_arrays_that_hold_something_else(stored: tuple[bytes, Callable[[bytes], None]], bend: Callable[[Any], Any]) -> None:
    data, use = stored
    header, arrays = parts(data)
    for name, array in arrays.items():
        if array.ndim or bend(np.ones(2)).size == 2:
            assert_refused_or_usable(use, together(header, {**arrays, name: bend(array)}))
        with pytest.raises(REFUSED):
            use(together(header, {each: arrays[each] for each in arrays if each != name}))


def _bomb(data: bytes) -> bytes:
    header, arrays = parts(data)
    return together(header, {**arrays, "more": np.zeros(100_000_000, dtype=np.uint8)})


def _large_shape(data: bytes) -> bytes:
    """An array whose header promises a terabyte."""
    file = io.BytesIO(data)
    shape = io.BytesIO()
    np.lib.format.write_array_header_1_0(shape, {"descr": "<f8", "fortran_order": False, "shape": (2**37,)})
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("more.npy", shape.getvalue())
    return file.getvalue()


@pytest.mark.parametrize("make", [_bomb, _large_shape])
def test_a_small_file_takes_no_large_memory(stored: tuple[bytes, Callable[[bytes], None]], make: Callable[[bytes], bytes]) -> None:
    data, use = stored
    harmful = make(data)
    assert len(harmful) < 300_000
    tracemalloc.start()
    try:
        with pytest.raises(ConfigurationError, match="not a stored"):
            use(harmful)
        assert tracemalloc.get_traced_memory()[1] < 32_000_000
    finally:
        tracemalloc.stop()
