"""A batch job whose process is killed at the worst moments: nothing is submitted, billed or answered twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import batches
from tests.long import LONG


@pytest.mark.stress
@pytest.mark.loopback
@pytest.mark.parametrize("provider", ["openai", "anthropic"] if LONG else ["anthropic"])
def test_a_killed_job_is_gone_on_with(tmp_path: Path, provider: str) -> None:
    found = batches.run(tmp_path, requests=10_000 if LONG else 200, kills=3 if LONG else 2, provider=provider)
    assert found.billed_at_provider == found.rows == found.distinct_rows == found.answered == found.requests
    assert found.batch_nano_usd * 2 == found.single_nano_usd
    assert (found.spent_nano_usd, found.reserved_nano_usd) == (found.batch_nano_usd, 0)
