"""Takes the pictures of report and dashboard that the documentation shows, of a made-up shop's six weeks. Needs Chromium.

    python -m tools.draw_pictures              # docs/assets/report.png, dashboard.png, and dashboard/PAGE-THEME-WIDTH.png of every page

The same code gives the same pictures: the shop's clock stands still, and chance begins at the same number.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from urllib.parse import quote_plus

import uvicorn
from PIL import Image

from llmthrift_core import Alert, Budget, Thrift, Usage
from llmthrift_core.quality import Experiment
from llmthrift_core.service import create_dashboard
from llmthrift_core.service.dashboard.routes import PAGES
from tests.core.service.browser import Tab, browsed

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
    count = 0
    thrift.alerts.add(Alert(on="budget", to=["https://hooks.example.com/llm"]))
    experiment = Experiment(thrift, "shorter-prompt", arms={"now": 0.5, "shorter": 0.5})
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
                is_hit, user, count = chance.random() < repeated, f"customer {chance.randrange(60)}", count + 1
                arm = experiment.arm_of(user) if feature == "support chat" and day > 20 else None
                if arm == "shorter":
                    usage = Usage(input_tokens=round(usage.input_tokens * 0.7), output_tokens=usage.output_tokens)
                thrift.ledger.record(
                    model,
                    usage,
                    at=at,
                    feature=feature,
                    user=user,
                    request_id=f"call-{count:05}",
                    call_site=f"{feature.replace(' ', '_')}.py:{12 + len(feature)}",
                    tags={"team": "shop" if "search" in feature else "care", **({} if arm is None else {experiment.tag: arm})},
                    run=f"{feature} {day}-{number // 4}",
                    cache="exact" if is_hit else None,
                    latency_seconds=0.004 if is_hit else chance.lognormvariate(0.2, 0.4),
                    error="RateLimitError" if chance.random() < 0.004 else None,
                )
    thrift.flush()
    # After the calls, which they then count.
    thrift.budgets.add(Budget(limit_usd=40, window="month", name="all of November"))
    thrift.budgets.add(Budget(limit_usd=12, window="month", match={"feature": "returns agent"}, name="returns agent"))


@contextmanager
def _folder() -> Iterator[Path]:
    """Of one name, which the page on health shows."""
    folder = Path(tempfile.gettempdir(), "llmthrift-pictures")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def photograph(tab: Tab, address: str, path: Path, *, width: int, dark: bool = False, most: int = 900, least: int = 400) -> None:
    """Keep a picture of a page, as high as it is, within limits in pixels; of 64 colours, which are all that it has besides edges."""
    tab.look(dark=dark, width=width)
    tab.open(address)
    height = min(most, max(least, int(tab.run("document.documentElement.scrollHeight"))))
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    taken = tab.send("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)["data"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(BytesIO(b64decode(taken))) as image:
        image.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


def pages(thrift: Thrift) -> dict[str, str]:
    """Every page by its name, with something to see: its address."""
    call = thrift.ledger.calls(feature="returns agent", limit=1)[0]
    special = {
        "explorer": "explorer?by=feature",
        "calls": "calls?by=feature&value=returns+agent",
        "call": f"call?id={call['request_id']}",
        "run": f"runs?run={quote_plus(call['run'])}",
        "plans": "plans?old=claude-sonnet-4-5&new=gpt-4o-mini&value=900",
        "login": "login",
    }
    return {name: f"/dashboard/{special.get(name, name)}" for name in (*PAGES, "run", "login")}


def main() -> None:
    """Make the ledger, serve it, and take the pictures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--into", type=Path, default=_ASSETS)
    options.add_argument("--only", default="", help="pages whose name has this")
    given = options.parse_args()
    with _folder() as folder, Thrift(folder / "shop.db", clock=_NOW.timestamp) as thrift, browsed() as tab:
        fill(thrift)
        server = uvicorn.Server(uvicorn.Config(create_dashboard(thrift), port=0, log_level="warning", timeout_graceful_shutdown=1))
        serving = threading.Thread(target=server.run)
        serving.start()
        while not server.started:
            time.sleep(0.05)
        address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        try:
            for name, path in pages(thrift).items():
                for width, dark in ((1440, False), (1440, True), (390, False), (390, True)):
                    if given.only in name:
                        picture = given.into / "dashboard" / f"{name}-{'dark' if dark else 'light'}-{width}.png"
                        photograph(tab, address + path, picture, width=width, dark=dark, most=1600)
            if not given.only:
                report = folder / "report.html"
                report.write_text(thrift.review().to_html(), encoding="utf-8")
                photograph(tab, report.as_uri(), given.into / "report.png", width=1000, least=900)
                photograph(tab, address, given.into / "dashboard.png", width=1200, least=900)
        finally:
            server.should_exit = True
            serving.join()
        assert tab.complaints == [], tab.complaints
    kept = sorted((given.into / "dashboard").glob("*.png"))
    print(f"{len(kept)} pictures of pages, {sum(each.stat().st_size for each in kept) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
