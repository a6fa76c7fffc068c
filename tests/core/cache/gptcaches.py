"""A real GPTCache on SQLite and FAISS, and an embedding function that puts texts about one topic near to each other."""

from __future__ import annotations

import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

DIMENSIONS = 32
DIRECTIONS = {
    name: np.random.default_rng(number).normal(size=DIMENSIONS) for number, name in enumerate(("hours", "price", "parcel", "weather"))
}


def by_topic(text: str, **_: Any) -> Any:
    """As GPTCache wants it: one text, one vector. Texts about one topic lie near to each other."""
    noise = np.random.default_rng(zlib.crc32(text.encode("utf-8", "surrogatepass"))).normal(size=DIMENSIONS)
    topic = next((DIRECTIONS[name] for name in DIRECTIONS if name in text.casefold()), noise * 3)
    return (topic + 0.2 * noise).astype(np.float32)


@pytest.fixture
def nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*given: Any, **_: Any) -> None:
        raise AssertionError(f"a shell was started: {given}")

    monkeypatch.setattr(subprocess, "check_call", refused)


@pytest.fixture
def open_gptcache(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens GPTCaches on the same files. The exit handlers that they register are theirs alone."""
    pytest.importorskip("gptcache")
    pytest.importorskip("faiss")
    import atexit

    from gptcache import Cache
    from gptcache.manager import CacheBase, VectorBase, get_data_manager

    opened: list[Any] = []

    def open_one(**options: Any) -> Any:
        manager = get_data_manager(
            CacheBase("sqlite", sql_url=f"sqlite:///{tmp_path}/gptcache.db"),
            VectorBase("faiss", dimension=DIMENSIONS, index_path=f"{tmp_path}/faiss.index"),
            **options,
        )
        cache = Cache()
        register = atexit.register
        try:
            atexit.register = lambda function: function  # type: ignore[assignment]
            cache.init(embedding_func=by_topic, data_manager=manager)
        finally:
            atexit.register = register  # type: ignore[assignment]
        opened.append(manager)
        return cache

    yield open_one
    for manager in opened:
        manager.s._engine.dispose()
