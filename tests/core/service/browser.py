"""A real Chromium, driven by its own protocol: what it draws, what it complains of, and what it asks for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run", "--disable-extensions")
_PATIENCE_SECONDS = 60.0


def axe_source() -> str:
    """The script of axe-core, from npm's package. Skips where it cannot be had."""
    places = [os.environ.get("NODE_PATH", "")]
    if (npm := shutil.which("npm")) is not None:
        places.append(subprocess.run([npm, "root", "-g"], capture_output=True, text=True, timeout=60).stdout.strip())
    for place in filter(None, (part for each in places for part in each.split(os.pathsep))):
        if (path := Path(place, "axe-core", "axe.min.js")).is_file():
            return path.read_text(encoding="utf-8")
    pytest.skip("axe-core is not installed: `npm install --global axe-core`, or name its node_modules in $NODE_PATH")


class Tab:
    """A page of the browser.

    Attributes:
        complaints: of its console and its log.
        asked: the addresses that it asked for.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._number = connection, 0
        self._session: str | None = None
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self._loaded = 0
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command, and what came of it."""
        self._number += 1
        number = self._number
        session = {} if self._session is None else {"sessionId": self._session}
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters, **session}))
        while True:
            told = self._next()
            if told.get("id") == number:
                assert "error" not in told, told
                found: dict[str, Any] = told["result"]
                return found

    def look(self, *, dark: bool, width: int) -> None:
        """How the next pages are looked at."""
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)

    def open(self, address: str) -> None:
        """Go there, and wait until all of it is there."""
        seen = self._loaded
        self.send("Page.navigate", url=address)
        self._wait(seen)

    def click(self, selector: str) -> None:
        """Press the first element that fits, where it stands on the screen, and wait until the page that it leads to is there."""
        place = self.run(
            f"(() => {{ const it = document.querySelector({json.dumps(selector)}); it.scrollIntoView({{block: 'center'}}); "
            "const box = it.getClientRects()[0]; return {x: box.x + Math.min(box.width, 16) / 2, y: box.y + box.height / 2}; })()"
        )
        seen = self._loaded
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)
        self._wait(seen)

    def fill(self, selector: str, **values: str) -> None:
        """Write values into the form that an element belongs to, and send it."""
        script = "(form => { for (const [name, value] of Object.entries(%s)) form.elements[name].value = value; form.id = 'filled'; })"
        self.run(f"{script % json.dumps(values)}(document.querySelector({json.dumps(selector)}).form)")
        self.click("#filled button")

    def _wait(self, seen: int) -> None:
        """Until another page was loaded."""
        while self._loaded == seen:
            self._next()

    def run(self, script: str) -> Any:
        """The value of a script, or of what it promises."""
        told = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def _next(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self._connection.recv(timeout=_PATIENCE_SECONDS))
        method, given = told.get("method"), told.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded += 1
        elif method == "Network.requestWillBeSent":
            self.asked.append(given["request"]["url"])
        elif method == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning", "assert"):
            self.complaints.append(str([each.get("value") for each in given["args"]]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(given["exceptionDetails"]))
        elif method == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")
        return told


@contextmanager
def browsed() -> Iterator[Tab]:
    """A tab of a browser of its own. Skips where there is none."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed: `apt-get install chromium`")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [browser, *_OPTIONS, f"--user-data-dir={folder}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            told, until = Path(folder, "DevToolsActivePort"), time.monotonic() + _PATIENCE_SECONDS
            while not (told.is_file() and len(told.read_text().splitlines()) > 1):
                assert time.monotonic() < until, "the browser did not start"
                time.sleep(0.05)
            port, path = told.read_text().splitlines()[:2]
            with connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as connection:
                yield Tab(connection)
        finally:
            process.terminate()
            process.wait(30)
