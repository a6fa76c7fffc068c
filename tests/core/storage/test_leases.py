"""Leases, on every kind of database."""

from __future__ import annotations

import pytest

from llmthrift_core.storage.database import Database
from llmthrift_core.storage.leases import Lease
from tests.core.clock import Clock


def test_one_holder_until_the_end_or_the_hour(any_url: str) -> None:
    clock = Clock()
    with Database.open(any_url) as database:

        def lease(name: str = "work") -> Lease:
            return Lease(database, name, seconds=60, clock=clock)

        with lease() as first:
            assert first
            with lease() as second, lease("other work") as third:
                assert (second, third) == (False, True)
            with lease() as again:  # the end of one who never had it ends nothing
                assert not again
        with lease() as after:
            assert after

        def fail() -> None:
            with lease() as failing:
                assert failing
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        with lease() as too_early:
            assert not too_early
        clock.now += 60
        with lease() as expired:
            assert expired
