"""A real HTTP server on this machine that takes what alerts send."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Receiver:
    """What came. `statuses` are the answers to give, one after the other; then 200."""

    url: str = ""
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, count: int, seconds: float = 10.0) -> bool:
        """Until so many requests have come."""
        with self.came:
            return self.came.wait_for(lambda: len(self.requests) >= count, seconds)


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Serve until the block ends."""
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with found.came:
                found.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                found.came.notify_all()
            status = found.statuses.pop(0) if found.statuses else 200
            self.send_response(status)
            if status in (301, 302):
                self.send_header("Location", f"{found.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
