"""`Remote`: a provider's batch API, as far as jobs need it. Each provider has a module of its own, which asks its own client."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from llmthrift_core.errors import BatchError
from llmthrift_core.model_calls.provider_errors import status_of

Ending = Literal["answered", "failed", "expired", "cancelled", "unreadable"]
MARK: Final = re.compile(r"(?P<job>[0-9a-f]{24})-(?P<number>\d+)")
# A submission is never repeated by the client itself: nobody would know whether the first one had been taken.
SUBMIT: Final[Mapping[str, Any]] = {"max_retries": 0, "timeout": 600.0}
# Statuses by which a provider says that it did not take a submission, and will not take the same one.
_REFUSALS: Final = frozenset(range(400, 500)) - {408, 409, 425, 429}


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest batch that a provider takes.

    Attributes:
        requests: how many.
        size_bytes: of all bodies together.
    """

    requests: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """A batch as its provider describes it.

    Attributes:
        id: at the provider.
        status: in the provider's words.
        is_over: nothing more will happen to it.
        done: requests that are done.
        size: all its requests; None: not known yet.
        expires_at: seconds since the epoch, or None.
        refusal: why the provider refuses all of it, or None.
        raw: the client's own object.
    """

    id: str
    status: str
    is_over: bool
    done: int
    size: int | None
    expires_at: float | None
    refusal: str | None
    raw: Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one request of a batch came to.

    Attributes:
        wire_id: its id at the provider; None: the line cannot be read.
        ending: how it ended.
        body: the provider's answer.
        error: what went wrong, in the provider's words.
        may_succeed: sent again, it may be answered.
    """

    wire_id: str | None
    ending: Ending
    body: Mapping[str, Any] | None = None
    error: str | None = None
    may_succeed: bool = False


class Remote(Protocol):
    """A provider's batch API.

    Attributes:
        provider: by llmthrift's name.
        limits: of one batch.
        finds_by_mark: a batch that was submitted can be told by its mark. Else it is told by its time and size, and verified when it ends.
    """

    provider: str
    limits: Limits
    finds_by_mark: bool

    def client(self) -> Any:
        """A client made of the environment. Raises ConfigurationError, MissingExtraError."""

    def upload(self, client: Any, mark: str, lines: Sequence[tuple[str, str]], endpoint: str) -> str | None:
        """Upload what is to be submitted: (wire id, body) pairs. None where it goes with the submission."""

    def submit(
        self, client: Any, mark: str, lines: Sequence[tuple[str, str]], endpoint: str, model: str, file_id: str | None
    ) -> RemoteBatch:
        """Submit a batch."""

    def candidates(self, client: Any, mark: str, since: float) -> Iterator[RemoteBatch]:
        """Batches that may be the one of a mark, submitted after a time (seconds since the epoch)."""

    def poll(self, client: Any, remote_id: str) -> RemoteBatch:
        """How a batch stands."""

    def outcomes(self, client: Any, batch: RemoteBatch) -> Iterator[Outcome]:
        """What the requests of a batch that is over came to, in any order."""

    def missing(self, batch: RemoteBatch) -> Outcome:
        """What a request came to of which the results say nothing."""

    def cancel(self, client: Any, remote_id: str) -> None:
        """Cancel a batch."""


def wire_id(job_id: str, number: int) -> str:
    """The id of a request at the provider: letters, digits and a dash, at most 64 characters, as all of them take it."""
    return f"{job_id}-{number}"


def number_in(job_id: str, identity: str | None) -> int | None:
    """The number of a request of this job; None for an id that is not of it."""
    found = MARK.fullmatch(identity or "")
    return int(found["number"]) if found is not None and found["job"] == job_id else None


def is_refusal(error: BaseException) -> bool:
    """Whether a provider has said that it took nothing, and will not."""
    return status_of(error) in _REFUSALS


def lines_of(chunks: Iterator[bytes]) -> Iterator[Mapping[str, Any] | None]:
    """The objects in the lines of a file, which comes in pieces; None for a line that is no object.

    A line ends with "\\n" alone: clients' own lines end at U+2028 and its like too, which stand in answers.
    """
    begun: list[bytes] = []
    for chunk in chunks:
        first, *rest = chunk.split(b"\n")
        begun.append(first)
        for line in rest:
            yield from _object(b"".join(begun))
            begun = [line]
    yield from _object(b"".join(begun))


def _object(line: bytes) -> Iterator[Mapping[str, Any] | None]:
    if line.strip():
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        yield found if isinstance(found, dict) else None


def refused(error: BaseException, job_id: str) -> BatchError:
    """The error of a submission that a provider does not take."""
    return BatchError(
        f"the provider refused the batch, and nothing was sent: {error}. Mend the cause, and go on with thrift.batches.resume({job_id!r}), "
        f"or give it up with thrift.batches.cancel({job_id!r})",
        job_id=job_id,
    )
