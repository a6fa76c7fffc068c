"""Every page of the dashboard over a large ledger: the processor time from the request to the last byte, without the browser's.

    python -m benchmarks.seeding ledger.db --calls 1000000
    python -m benchmarks.pages ledger.db --most-ms 200
    python -m benchmarks.pages ledger10m.db --most-ms 1000      # the same with --calls 10000000

Each page is asked of the application as it is, with its middleware, for the last 30 days and for all of the year. "First" is the first
time in a process whose modules are loaded; "again" is the median of those after it, as a reader who moves between pages has them.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from statistics import median
from typing import Final

import httpx

from benchmarks.measure import table
from benchmarks.seeding import NOW
from llmthrift_core import Thrift
from llmthrift_core.service import create_dashboard
from llmthrift_core.service.dashboard.routes import PAGES

_PERIODS: Final = ("30", "all")
_GROUPS: Final = (
    "model", "feature", "user", "session", "run", "call_site", "provider", "request_type", "prompt_version", "day", "month", "team",
)  # fmt: skip


def addresses(thrift: Thrift) -> list[str]:
    """Every page, every grouping of the explorer, and what their rows lead to."""
    call = thrift.ledger.calls(limit=1)[0]
    found = [f"/dashboard/{name}" for name in PAGES if name not in ("call", "explorer")]
    found += [f"/dashboard/explorer?by={by}" for by in _GROUPS]
    found += ["/dashboard/calls?by=model&value=gpt-4o", "/dashboard/calls?by=team&value=search&order=newest"]
    found += ["/dashboard/calls?by=user&value=user+0000", f"/dashboard/call?id={call['request_id']}"]
    return [*found, f"/dashboard/runs?run={call['run'] or call['trace_id']}"]


async def _measure(thrift: Thrift, times: int, only: str) -> list[tuple[str, str, float, float]]:
    rows = []
    transport = httpx.ASGITransport(create_dashboard(thrift))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        (await client.get("/dashboard/login")).raise_for_status()  # modules and templates are loaded
        for address in addresses(thrift):
            for days in _PERIODS:
                if only not in address:
                    continue
                taken = []
                for _ in range(times):
                    started = time.process_time()
                    answer = await client.get(f"{address}{'&' if '?' in address else '?'}days={days}")
                    taken.append(1000 * (time.process_time() - started))
                    answer.raise_for_status()
                rows.append((address.removeprefix("/dashboard/"), days, taken[0], median(taken[1:])))
                print(f"{address} {days}: {taken[0]:,.0f} ms, {median(taken[1:]):,.0f} ms", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Measure and print; what is above the limit is named, and ends it with 1."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("path", type=Path, help="a ledger that `benchmarks.seeding` made")
    options.add_argument("--most-ms", type=float, default=200.0)
    options.add_argument("--times", type=int, default=4)
    options.add_argument("--only", default="", help="pages whose address has this")
    given = options.parse_args()
    with Thrift(given.path, clock=NOW.timestamp) as thrift:
        calls = thrift.report().total["attempts"]
        rows = asyncio.run(_measure(thrift, given.times, given.only))
    shown = [(name, days, f"{first:,.0f} ms", f"{again:,.0f} ms") for name, days, first, again in rows]
    print(table(f"Pages of the dashboard over {calls:,} calls, processor time", ("page", "days", "first", "again"), shown))
    if over := [f"{name} ({days} days)" for name, days, first, again in rows if min(first, again) > given.most_ms]:
        sys.exit(f"above {given.most_ms:,.0f} ms: {', '.join(over)}")


if __name__ == "__main__":
    main()
