"""The loopback provider: one HTTP server that speaks the formats of OpenAI, Anthropic, Bedrock and Gemini."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from llmthrift_core.testing.answers import Answer, Question, derive
from llmthrift_core.testing.batch_desk import BatchDesk
from llmthrift_core.testing.google_caches import GoogleCaches
from llmthrift_core.testing.prompt_caches import PromptCaches
from llmthrift_core.testing.server import ScriptError, Server, Unsent

# Providers answer an alias with the snapshot that it stands for.
SNAPSHOTS: Final[Mapping[str, str]] = {
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
}


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request as it arrived. Headers are not kept: they carry keys.

    Attributes:
        path: without the query.
        body: the parsed JSON.
        at: seconds since the epoch.
        has_key: whether an API key came with it; the key itself is not kept.
    """

    path: str
    body: Mapping[str, Any]
    at: float
    has_key: bool = False


@dataclass(frozen=True, slots=True)
class Billed:
    """What the provider counted for one request: inclusive tokens, under the model name of the request.

    A stream is billed in full when it begins, also where the client leaves early.
    """

    model: str
    input_tokens: int
    output_tokens: int
    stream: bool
    batch: bool = field(default=False, repr=False)  # through a batch API


@dataclass(slots=True)
class Failure:
    """An error that waits for the next requests."""

    status: int
    left: int
    retry_after: float | None
    message: str
    model: str | None
    error_type: str | None


class LoopbackProvider:
    """An OpenAI- and Anthropic-compatible provider on 127.0.0.1, on a free port.

    It answers chat completions, responses, legacy completions, embeddings, Anthropic messages, Bedrock's Converse
    API and Gemini's generateContent, whole, as streams and in batches. What it
    answers and counts is a function of the request, so tests can state both. Close it, or use it as a context manager.

    Args:
        answerer: from a Question to an Answer, a text, or None for an answer derived from the request. It is called from several
            threads; what it raises reaches the client as status 500.
        latency_seconds: from a model's name to the seconds that it takes to answer.
        snapshots: alias -> the model name in the response.
        prompt_caches: bill prompt caches as the providers do: what was marked (Anthropic, Bedrock) or sent before (OpenAI) is read while it
            lives.
        clock: seconds, for the lives in those caches.

    Attributes:
        requests: what arrived, in order.
        usage_log: what was billed, in order.
        prompt_caches: what is kept of prompts, where that was asked for.
        google_caches: Gemini's explicit caches.
        batches: the batch APIs: OpenAI's files and batches, and Anthropic's message batches. What is in it may fail, expire and be late.

    >>> from llmthrift_core.testing import LoopbackProvider
    >>> from urllib.request import Request, urlopen
    >>> with LoopbackProvider(lambda question: "Hello.") as provider:
    ...     body = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi!"}]}'
    ...     answer = urlopen(Request(provider.openai_url + "/chat/completions", body)).read()
    ...     provider.usage_log
    [Billed(model='gpt-4o', input_tokens=5, output_tokens=2, stream=False)]
    """

    def __init__(
        self,
        answerer: Callable[[Question], Answer | str | None] | None = None,
        *,
        latency_seconds: Callable[[str], float] | None = None,
        snapshots: Mapping[str, str] = SNAPSHOTS,
        prompt_caches: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.answerer = answerer
        self.latency_seconds = latency_seconds
        self.requests: list[ReceivedRequest] = []
        self.usage_log: list[Billed] = []
        self.prompt_caches = PromptCaches(clock) if prompt_caches else None
        self.google_caches = GoogleCaches(clock)
        self._snapshots = snapshots
        self._failures: deque[Failure] = deque()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._server = Server(self)
        self.batches = BatchDesk(lambda path, body: Unsent(self._server).ask(path, body))
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="loopback-provider", daemon=True
        )

    @property
    def openai_url(self) -> str:
        """The base URL for OpenAI clients."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def google_url(self) -> str:
        """The base URL for Gemini's clients."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def bedrock_url(self) -> str:
        """The endpoint URL for Bedrock's runtime clients."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def anthropic_url(self) -> str:
        """The base URL for Anthropic clients."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def models(self) -> tuple[str, ...]:
        """The names that `GET /v1/models` lists. Any other name is answered, too."""
        return tuple(self._snapshots)

    def fail_next(
        self,
        *,
        status: int,
        times: int = 1,
        retry_after: float | None = None,
        message: str | None = None,
        model: str | None = None,
        error_type: str | None = None,
    ) -> None:
        """Answer the next requests with an error. Failures queue up.

        Args:
            status: the HTTP status.
            times: how many requests meet it.
            retry_after: seconds, sent as the header Retry-After.
            message: the error's text.
            model: only requests for this model.
            error_type: the type in the error's body; by default the provider's usual one for the status.
        """
        if times < 1:
            raise ValueError(f"times must be at least 1, not {times!r}")
        with self._lock:
            self._failures.append(Failure(status, times, retry_after, message or f"failure {status} as asked for", model, error_type))

    def reset(self) -> None:
        """Forget requests, bills, failures, scripts and cached prompts."""
        with self._lock:
            self.requests = []
            self.usage_log = []
            self._failures.clear()
            self.answerer = None
            self.latency_seconds = None
        self.batches.reset()
        self.google_caches.clear()
        if self.prompt_caches is not None:
            self.prompt_caches.clear()

    def close(self) -> None:
        """Stop the server and close every connection. Closing twice does nothing."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- for the server ---

    def failure_for(self, model: str) -> Failure | None:
        """The failure that this request is to meet."""
        with self._lock:
            for failure in self._failures:
                if failure.model is None or failure.model == model:
                    failure.left -= 1
                    if failure.left <= 0:
                        self._failures.remove(failure)
                    return failure
        return None

    def receive(self, path: str, body: Mapping[str, Any], *, has_key: bool) -> str:
        """Note a request; its identity."""
        with self._lock:
            self.requests.append(ReceivedRequest(path, body, time.time(), has_key))
            return f"{next(self._numbers):08x}"

    def bill(self, model: str, sent: int, received: int, *, stream: bool, batch: bool = False) -> None:
        """Note what was counted."""
        with self._lock:
            self.usage_log.append(Billed(model, sent, received, stream, batch))

    def snapshot(self, model: str) -> str:
        """The name in the response."""
        return self._snapshots.get(model, model)

    def answer(self, question: Question) -> Answer:
        """What to say, after the model's latency."""
        try:
            if self.latency_seconds is not None and (seconds := self.latency_seconds(question.model)) > 0:
                time.sleep(seconds)
            given = self.answerer(question) if self.answerer is not None else None
        except Exception as error:  # the user's code: whatever it raises goes to the client, in words
            raise ScriptError from error
        if given is None:
            return derive(question)
        return Answer(given) if isinstance(given, str) else given
