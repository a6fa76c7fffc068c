"""Takes the pictures of report and dashboard that the documentation shows, of a made-up shop's six weeks. Needs Chromium.

python -m tools.draw_pictures [--browser chromium]          # writes docs/assets/*.png
"""

from __future__ import annotations

import argparse
import random
import subprocess
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn

from llmthrift_core import Budget, Thrift, Usage
from llmthrift_core.service import create_dashboard

_ASSETS = Path(__file__).parents[1] / "docs" / "assets"
_DAYS = 42
_NOW = datetime(2026, 11, 28, 15, tzinfo=UTC)
# By feature: calls a day, the share that is repeated, the model, and the tokens of an ordinary call.
_FEATURES = {
    "support chat": (60, 0.35, "gpt-4o-mini", (1_400, 220)),
    "product search": (45, 0.5, "gpt-4o-mini", (600, 60)),
    "analytics": (9, 0.1, "gpt-4o", (5_200, 700)),
    "returns agent": (12, 0.0, "claude-sonnet-4-5", (3_800, 420)),
}


def fill(thrift: Thrift) -> None:
    """Record six weeks: weekends are quiet, traffic grows, and one day an agent runs away."""
    chance = random.Random(7)
    thrift.budgets.add(Budget(limit_usd=40, window="month", name="all of November"))
    thrift.budgets.add(Budget(limit_usd=12, window="month", match={"feature": "returns agent"}, name="returns agent"))
    for day in range(_DAYS):
        date = _NOW - timedelta(days=_DAYS - 1 - day)
        pace = (0.35 if date.weekday() > 4 else 1.0) * (1 + day / 90)
        for feature, (calls, repeated, model, (sent, made)) in _FEATURES.items():
            is_runaway = day == 30 and feature == "returns agent"
            for number in range(round(calls * pace * chance.uniform(0.85, 1.15) * (4 if is_runaway else 1))):
                at = date.replace(hour=8) + timedelta(minutes=chance.uniform(0, 60 * 13 if day < _DAYS - 1 else 60 * 6))
                usage = Usage(
                    input_tokens=round(sent * chance.lognormvariate(0, 0.3)), output_tokens=round(made * chance.lognormvariate(0, 0.4))
                )
                is_hit = chance.random() < repeated
                thrift.ledger.record(
                    model,
                    usage,
                    at=at,
                    feature=feature,
                    user=f"customer {chance.randrange(60)}",
                    run=f"{feature} {day}-{number // 4}",
                    cache="exact" if is_hit else None,
                    latency_seconds=0.004 if is_hit else chance.lognormvariate(0.2, 0.4),
                    error="RateLimitError" if chance.random() < 0.004 else None,
                )
    thrift.flush()


def photograph(browser: str, address: str, name: str, width: int, height: int) -> None:
    """Keep a picture of a page."""
    size, path = f"--window-size={width},{height}", _ASSETS / name
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", size, f"--screenshot={path}", address]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Make the ledger, serve it, and take the pictures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--browser", default="chromium")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, Thrift(f"{folder}/shop.db", clock=_NOW.timestamp) as thrift:
        fill(thrift)
        report = Path(folder) / "report.html"
        report.write_text(thrift.review().to_html(), encoding="utf-8")
        photograph(given.browser, report.as_uri(), "report.png", 1000, 900)
        server = uvicorn.Server(uvicorn.Config(create_dashboard(thrift), port=0, log_level="warning"))
        serving = threading.Thread(target=server.run)
        serving.start()
        while not server.started:
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        photograph(given.browser, f"http://127.0.0.1:{port}/", "dashboard.png", 1200, 900)
        photograph(given.browser, f"http://127.0.0.1:{port}/dashboard/explorer?by=feature", "explorer.png", 1200, 700)
        plans = "/dashboard/plans?old=claude-sonnet-4-5&new=gpt-4o-mini&value=900"
        photograph(given.browser, f"http://127.0.0.1:{port}{plans}", "plans.png", 1200, 2400)
        server.should_exit = True
        serving.join()


if __name__ == "__main__":
    main()
