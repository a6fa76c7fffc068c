"""A Valkey or Redis server, for the budgets and answers that several machines share. The ledger stays in the SQL database."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha1
from typing import Any, Final, Self

from llmthrift_core.errors import ConfigurationError, MissingExtraError, StorageError
from llmthrift_core.storage.circuit import Circuit
from llmthrift_core.storage.faults import UnavailableError

_SCHEMES: Final = ("valkey://", "valkeys://", "redis://", "rediss://", "unix://")
_LEAST_ANSWER_SECONDS: Final = 0.1
_SECRETS: Final = re.compile(r"(?<=//)[^/@]*(?=@)|(?<=password=)[^&]*")


class Script:
    """A Lua script. The server runs it as one step: nothing else happens in between."""

    __slots__ = ("digest", "text")

    def __init__(self, *parts: str) -> None:
        self.text = "\n".join(parts)
        self.digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class ValkeyServer:
    """Connections to one server, safe to share between threads and after fork. Every method raises StorageError.

    After the server did not answer in time, everything fails at once until one attempt has shown that it answers again.

    Args:
        url: "valkey://[user:password@]host:port/0", "redis://...", with "s" for TLS, or "unix:///path".
        timeout_seconds: how long to wait for a connection, and for an answer.

    Raises:
        ConfigurationError: a URL that cannot be used.
        MissingExtraError: the client is not installed.
        StorageError: the server does not answer.
    """

    def __init__(self, url: str, *, timeout_seconds: float = 5.0) -> None:
        try:
            import valkey
            from valkey.backoff import NoBackoff
            from valkey.retry import Retry
        except ImportError:
            raise MissingExtraError("valkey", "valkey") from None
        shown = _SECRETS.sub("***", str(url))
        if not isinstance(url, str) or not url.startswith(_SCHEMES):
            raise ConfigurationError(f"not the URL of a Valkey or Redis server: {shown!r}; accepted are {', '.join(_SCHEMES)}")
        self.url = shown
        answer_seconds = max(_LEAST_ANSWER_SECONDS, timeout_seconds)
        self._circuit = Circuit(shown, answer_seconds=answer_seconds)
        # Typed as Any: the client's annotations leave open whether its answers are to be awaited.
        self._error = valkey.ValkeyError
        self._unreachable = (valkey.ConnectionError, valkey.TimeoutError)
        self._no_script = valkey.exceptions.NoScriptError
        try:
            self._client: Any = valkey.Valkey.from_url(
                url,
                socket_timeout=answer_seconds,
                socket_connect_timeout=answer_seconds,
                # A connection that lay idle may be gone. Every script may be sent twice: the second changes nothing, or holds more.
                # A server that is silent would only be waited for twice.
                retry=Retry(NoBackoff(), 1, supported_errors=(valkey.ConnectionError,)),
                retry_on_error=[valkey.ConnectionError],
            )
        except ValueError as error:
            raise ConfigurationError(f"not the URL of a Valkey or Redis server: {shown!r} ({type(error).__name__})") from None
        with self._as_storage_errors():
            self._client.ping()

    def run(self, script: Script, *arguments: Any) -> Any:
        """Run a script. Returns what it returns: texts are bytes."""
        with self._as_storage_errors():
            try:
                return self._client.evalsha(script.digest, 0, *arguments)
            except self._no_script:
                return self._client.eval(script.text, 0, *arguments)

    def ask(self, *command: Any) -> Any:
        """Run one command."""
        with self._as_storage_errors():
            return self._client.execute_command(*command)

    def ask_many(self, commands: Iterable[Sequence[Any]], *, together: bool = False) -> list[Any]:
        """Run commands in one round trip; `together` as one step."""
        with self._as_storage_errors(), self._client.pipeline(transaction=together) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            answers: list[Any] = pipeline.execute()
            return answers

    def members(self, key: str) -> Iterator[bytes]:
        """The members of a set, a batch at a time, so that a large one does not stop the server."""
        with self._as_storage_errors():
            yield from self._client.sscan_iter(key, count=1000)

    def keys(self, pattern: str) -> Iterator[bytes]:
        """The keys that fit a pattern, a batch at a time; one that is there all the while comes at least once."""
        with self._as_storage_errors():
            yield from self._client.scan_iter(pattern, count=1000)

    def scored(self, key: str) -> Iterator[tuple[bytes, float]]:
        """The members of a sorted set with their scores, in no order, a batch at a time."""
        seen: set[bytes] = set()
        with self._as_storage_errors():
            for member, score in self._client.zscan_iter(key, count=1000):
                if member not in seen:  # a scan may repeat itself while the set grows
                    seen.add(member)
                    yield member, float(score)

    def may_evict(self) -> str | None:
        """The server's policy for full memory if it may then drop keys at will, else None."""
        with self._as_storage_errors():
            memory = self._client.info("memory")
        policy = str(memory.get("maxmemory_policy", "noeviction"))
        return policy if memory.get("maxmemory") and policy != "noeviction" else None

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _as_storage_errors(self) -> Iterator[None]:
        self._circuit.enter()
        try:
            yield
        except (self._error, OSError) as error:
            # An error of the server may repeat what it was sent; one of the connection names the host.
            what = str(error).splitlines()[0] if type(error).__name__ in ("ConnectionError", "TimeoutError") and str(error) else ""
            text = f"{self.url}: {what or type(error).__name__}"
            if not isinstance(error, (*self._unreachable, OSError)):
                self._circuit.answered()
                raise StorageError(text) from None
            unavailable = UnavailableError(text)
            self._circuit.failed(unavailable)
            raise unavailable from None
        self._circuit.answered()
