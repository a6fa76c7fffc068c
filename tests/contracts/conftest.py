"""Whatever a contract test does on an event loop, nothing of ours blocks it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.event_loop import nothing_blocks


@pytest.fixture(autouse=True)
def _nothing_blocks_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with nothing_blocks(monkeypatch):
        yield
