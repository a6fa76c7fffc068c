"""The service beside LiteLLM's proxy: what each adds to a call, how many calls it takes a second, and what it keeps in memory.

    python -m benchmarks.service                             # llmthrift alone
    python -m benchmarks.service --litellm /tmp/litellm      # a virtual environment with litellm[proxy] in it
    python -m benchmarks.service --only llmthrift --clients 1 --seconds 5 --connections 2000

Both send each call to the same upstream in a process of its own, which answers at once with a fixed body. Every question is new, so that
no cache answers. The upstream alone stands beside them: what is above its time was added. Processor time is that of the service's
processes for one call, which a busy machine changes less than the time on the clock. Clients keep their connections.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.measure import table
from llmthrift_core import Thrift

_ANSWER: Final = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_767_225_600,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 2, "total_tokens": 22},
    }
).encode()
_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_CONFIG: Final = """
[tiers.economy]
model = "openai:gpt-4o-mini"
base_url = "http://127.0.0.1:{upstream}/v1"

[service]
port = {port}
max_concurrency = 5000

[cache]
enabled = false
"""
_LITELLM: Final = """
model_list:
  - model_name: economy
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "http://127.0.0.1:{upstream}/v1", api_key: sk-none}}
general_settings:
  dangerously_permit_weak_or_unset_master_key: true
"""


class Upstream(asyncio.Protocol):
    """Answers every whole request with the same body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._seen = transport, b""

    def data_received(self, data: bytes) -> None:
        self._seen += data
        while (end := self._seen.find(b"\r\n\r\n")) >= 0:
            head = self._seen[:end].lower()
            _, _, rest = head.partition(b"content-length:")
            length = int(rest.split(b"\r\n", 1)[0] or 0)
            if len(self._seen) < end + 4 + length:
                return
            self._seen = self._seen[end + 4 + length :]
            self._transport.write(_HEAD % len(_ANSWER) + _ANSWER)  # type: ignore[attr-defined]


async def serve_upstream(port: int) -> None:
    """Until the process ends."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


class Client:
    """One connection that is kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._asked = 0

    async def open(self) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def ask(self, number: int) -> float:
        """Ask a new question; how many seconds the answer took."""
        body = {
            "model": "economy",
            "messages": [{"role": "user", "content": f"Question {number} of {id(self)}: what is the capital of France?"}],
        }
        data = json.dumps(body).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {len(data)}"
        started = time.perf_counter()
        self._writer.write(head.encode() + b"\r\n\r\n" + data)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        status, _, rest = answer.lower().partition(b"\r\n")
        length = int(rest.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        body_read = await self._reader.readexactly(length)
        if b" 200 " not in status + b" ":
            raise RuntimeError(f"{status!r}: {body_read[:300]!r}")
        return time.perf_counter() - started

    def close(self) -> None:
        """Leave."""
        self._writer.close()


async def _closed_loop(port: int, clients: int, seconds: float) -> tuple[list[float], float]:
    """Each client asks again as soon as it was answered: what each call took, and the calls a second."""
    opened = [Client(port) for _ in range(clients)]
    for client in opened:
        await client.open()
    taken: list[float] = []
    started = time.perf_counter()
    until = started + seconds

    async def go_on(client: Client) -> None:
        number = 0
        while time.perf_counter() < until:
            number += 1
            taken.append(await client.ask(number))

    await asyncio.gather(*map(go_on, opened))
    spent = time.perf_counter() - started
    for client in opened:
        client.close()
    return taken, len(taken) / spent


async def _open_loop(port: int, rate: float, seconds: float) -> list[float]:
    """So many calls a second, however long each takes: what each took since it was due."""
    idle: list[Client] = []
    taken: list[float] = []

    async def one(number: int, due: float) -> None:
        client = idle.pop() if idle else Client(port)
        if not hasattr(client, "_reader"):
            await client.open()
        await client.ask(number)
        taken.append(time.perf_counter() - due)
        idle.append(client)

    started, tasks = time.perf_counter(), []
    for number in range(int(rate * seconds)):
        due = started + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(number, due)))
    await asyncio.gather(*tasks)
    return taken


async def _many(port: int, connections: int) -> list[float]:
    """So many connections, opened and kept; then each asks once, all at the same time: what each took."""
    clients = [Client(port) for _ in range(connections)]
    for client in clients:
        await client.open()
    taken = await asyncio.gather(*(client.ask(number) for number, client in enumerate(clients)))
    for client in clients:
        client.close()
    return list(taken)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def _running(command: list[str], port: int, *, cwd: Path, environment: dict[str, str] | None = None) -> Iterator[int]:
    """A server, as soon as it listens; its process and all that it starts end with the block."""
    with Path(cwd, "log.txt").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **(environment or {})}, stdout=log, stderr=log, start_new_session=True
        )
    try:
        until = time.monotonic() + 180
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(Path(cwd, "log.txt").read_text()[-3000:]) from None
                time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()  # its workers are told by it, and what they have is written
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(each) for each in task.read_text().split()]
    return found


def _cpu_seconds(pid: int) -> float:
    total = 0
    for each in _family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def _memory_mb(pid: int) -> float:
    total = 0
    for each in _family(pid):
        _, _, rest = Path(f"/proc/{each}/status").read_text().partition("VmRSS:")
        total += int(rest.split()[0])
    return total / 1024


def _percentile(values: list[float], share: float) -> str:
    return f"{sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1000:,.1f} ms"


def _measure(name: str, port: int, pid: int, given: argparse.Namespace) -> tuple[list[tuple[str, ...]], int]:
    rows, calls = [], 0
    taken, _ = asyncio.run(_closed_loop(port, 1, 1.0))  # imports and connections are made
    calls += len(taken)
    for clients in given.clients:
        before = _cpu_seconds(pid)
        taken, rate = asyncio.run(_closed_loop(port, clients, given.seconds))
        cpu = (_cpu_seconds(pid) - before) / len(taken) * 1000
        calls += len(taken)
        rows.append((name, f"{clients}", f"{median(taken) * 1000:,.1f} ms", _percentile(taken, 0.99), f"{rate:,.0f}", f"{cpu:,.2f} ms"))
        print(*rows[-1], flush=True)
    if given.rate:
        before = _cpu_seconds(pid)
        taken = asyncio.run(_open_loop(port, given.rate, given.seconds))
        cpu = (_cpu_seconds(pid) - before) / len(taken) * 1000
        calls += len(taken)
        name_of_load = f"{given.rate:g} a second"
        rows.append(
            (name, name_of_load, f"{median(taken) * 1000:,.1f} ms", _percentile(taken, 0.99), f"{given.rate:,.0f}", f"{cpu:,.2f} ms")
        )
        print(*rows[-1], flush=True)
    if given.connections:
        before = _cpu_seconds(pid)
        started = time.perf_counter()
        taken = asyncio.run(_many(port, given.connections))
        rate = len(taken) / (time.perf_counter() - started)
        cpu = (_cpu_seconds(pid) - before) / len(taken) * 1000
        calls += len(taken)
        load = f"{given.connections:,} connections"
        rows.append((name, load, f"{median(taken) * 1000:,.1f} ms", _percentile(taken, 0.99), f"{rate:,.0f}", f"{cpu:,.2f} ms"))
        print(*rows[-1], flush=True)
    return rows, calls


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--litellm", type=Path, help="a virtual environment with litellm[proxy]")
    options.add_argument("--only", nargs="*", choices=("upstream", "llmthrift", "litellm"), default=["upstream", "llmthrift", "litellm"])
    options.add_argument("--clients", type=int, nargs="*", default=[1, 50, 200])
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("--rate", type=float, default=100.0, help="of the open loop; 0 leaves it out")
    options.add_argument("--connections", type=int, default=0, help="so many that are kept, each with one call at the same time")
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--upstream-port", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.upstream_port:
        asyncio.run(serve_upstream(given.upstream_port))
        return
    rows: list[tuple[str, ...]] = []
    memory: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        here, upstream = Path(folder), _free_port()
        this = [sys.executable, "-m", "benchmarks.service", "--upstream-port", str(upstream)]
        with _running(this, upstream, cwd=here, environment={"PYTHONPATH": str(Path(__file__).parents[1])}) as upstream_pid:
            if "upstream" in given.only:
                rows += _measure("the upstream alone", upstream, upstream_pid, given)[0]
            if "llmthrift" in given.only:
                port = _free_port()
                (here / "llmthrift.toml").write_text(_CONFIG.format(upstream=upstream, port=port))
                command = [sys.executable, "-c", "from llmthrift_core.cli import main; main()", "serve"]
                command += ["--config", "llmthrift.toml", "--workers", str(given.workers)]
                keys = {"OPENAI_API_KEY": "sk-none", "PYTHONPATH": str(Path(__file__).parents[1])}
                with _running(command, port, cwd=here, environment=keys) as pid:
                    first = _memory_mb(pid)
                    found, calls = _measure("llmthrift", port, pid, given)
                    memory.append(("llmthrift", f"{first:,.0f} MB", f"{_memory_mb(pid):,.0f} MB", f"{calls:,}"))
                rows += found
                with Thrift(here / "llmthrift.db") as thrift:
                    recorded = thrift.report().total["requests"]
                    assert recorded == calls, (recorded, calls)
                    print(f"llmthrift: {calls:,} calls answered, {recorded:,} in the ledger")
            if given.litellm and "litellm" in given.only:
                port = _free_port()
                (here / "litellm.yaml").write_text(_LITELLM.format(upstream=upstream))
                command = [str(given.litellm / "bin" / "litellm"), "--config", "litellm.yaml", "--port", str(port)]
                command += ["--host", "127.0.0.1", "--num_workers", str(given.workers), "--telemetry", "False"]
                with _running(command, port, cwd=here, environment={"LITELLM_LOCAL_MODEL_COST_MAP": "True"}) as pid:
                    first = _memory_mb(pid)
                    found, calls = _measure("LiteLLM's proxy", port, pid, given)
                    memory.append(("LiteLLM's proxy", f"{first:,.0f} MB", f"{_memory_mb(pid):,.0f} MB", f"{calls:,}"))
                rows += found
    print(
        table(
            f"Calls through a service, {given.workers} worker",
            ("service", "clients", "p50", "p99", "calls a second", "processor a call"),
            rows,
        )
    )
    print(table("Memory", ("service", "at its start", "after the calls", "calls"), memory))


if __name__ == "__main__":
    main()
