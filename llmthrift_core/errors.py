"""The exceptions of llmthrift.

    LLMThriftError
    ├── ConfigurationError        a URL, option, overrides file or environment variable that cannot be used
    │   └── MomentTypeError       what is neither a date, nor a time, nor a text of one (also a TypeError)
    ├── MissingExtraError         an optional dependency is not installed
    │   ├── MissingPackageError   found while it is imported or needed (also an ImportError): what MissingExtraError(...) makes
    │   └── MissingNameError      found while a name of a package is read (also an AttributeError, so that hasattr() is False)
    ├── UnknownModelError         no price for this model (also a LookupError)
    ├── UnknownCallError          no recorded call is known by this id (also a LookupError)
    ├── UsageError                token counts that cannot be right (also a ValueError)
    ├── StorageError              the database cannot be opened, read or written
    │   ├── RowRejectedError      these values cannot be stored, others can
    │   └── SchemaVersionError    the database was written by a newer llmthrift
    ├── EmbeddingError            an embedder failed, or gave something that is no vector
    ├── JudgeError                a judge failed, or its reply is no judgement
    ├── PromptTooLongError        what must not be cut of a prompt is longer than it may be (also a ValueError)
    ├── BatchError                a batch job could not be sent, or does not end
    ├── NoModelQualifiesError     no allowed model meets what a routing policy requires
    └── BudgetError               a budget could not do what it was asked
        ├── BudgetExceededError   a budget refused the call
        └── HoldEndedError        a hold was to grow after it had ended

BudgetExceededError is deliberately neither a ValueError nor a TypeError: frameworks swallow those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, Literal


class LLMThriftError(Exception):
    """Base class of every exception that llmthrift raises."""


class ConfigurationError(LLMThriftError, ValueError):
    """A URL, option, overrides file or environment variable that cannot be used."""


class MomentTypeError(ConfigurationError, TypeError):
    """What is neither a date, nor a time, nor a text of one."""


class MissingExtraError(LLMThriftError):
    """An optional dependency is not installed.

    No class of Python can be an ImportError and an AttributeError at once, so each of the two has a class of its own.

    Attributes:
        extra: the extra of llmthrift that brings it; installing this one is enough.
        package: the package that could not be imported.
    """

    def __new__(cls, extra: str, package: str) -> MissingExtraError:
        kind: type[Any] = MissingPackageError if cls is MissingExtraError else cls
        made: MissingExtraError = Exception.__new__(kind, extra, package)
        return made

    def __init__(self, extra: str, package: str) -> None:
        self.extra = extra
        self.package = package
        super().__init__(f"{package} is not installed; run: pip install 'llmthrift[{extra}]'")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.extra, self.package)


class MissingPackageError(MissingExtraError, ImportError):
    """An optional dependency is not installed, and was needed."""


class MissingNameError(MissingExtraError, AttributeError):
    """A name of a package needs an optional dependency that is not installed."""


class UnknownModelError(LLMThriftError, LookupError):
    """No price is known for a model.

    Attributes:
        model: the name that was asked for.
        provider: the provider that was asked for, or None.
        closest: the most similar known names, best first. They are looked for when they are first asked for, which takes a while: most
            who catch the error never show it.
    """

    def __init__(self, model: str, *, provider: str | None = None, closest: Sequence[str] | Callable[[], Sequence[str]] = ()) -> None:
        super().__init__(model)
        self.model = model
        self.provider = provider
        self._closest = closest

    @property
    def closest(self) -> tuple[str, ...]:
        found = self._closest() if callable(self._closest) else self._closest
        self._closest = found
        return tuple(found)

    def __str__(self) -> str:
        where = f" at provider {self.provider!r}" if self.provider else ""
        hint = f"; closest known names: {', '.join(self.closest)}" if self.closest else ""
        return (
            f"no price is known for model {self.model!r}{where}{hint}. "
            f"Set one with thrift.prices.override({self.model!r}, input_usd_per_million=..., output_usd_per_million=...)"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), provider=self.provider, closest=self.closest), (self.model,)


class UnknownCallError(LLMThriftError, LookupError):
    """No recorded call is known by an id.

    Attributes:
        given: the id, or the kind of object that was given.
        ids: those that were looked for.
    """

    def __init__(self, given: object, ids: Sequence[str] = ()) -> None:
        super().__init__(given, list(ids))
        self.given = given
        self.ids = tuple(ids)

    def __str__(self) -> str:
        others = [each for each in self.ids if each != str(self.given)]
        looked = f" (looked for {', '.join(map(repr, others))})" if others else "" if self.ids else " (nothing in it names a call)"
        return (
            f"no recorded call is known by {str(self.given)!r}{looked}. Give the answer itself, its mark (`llmthrift` in response_metadata "
            "or additional_kwargs), the run id, the id of the message or of the provider's response, or the request id of a row. Calls "
            "that were not metered, or were pruned or erased, are not known"
        )


class UsageError(LLMThriftError, ValueError):
    """Token counts that cannot be right: negative, not finite, or parts larger than their total."""


class StorageError(LLMThriftError):
    """The database cannot be opened, read or written."""


class RowRejectedError(StorageError):
    """The database is well, but these values cannot be stored: trying again would fail again."""


class SchemaVersionError(StorageError):
    """The database was written by a newer llmthrift than the one that opens it.

    Attributes:
        found: the schema revision in the database.
        known: the newest revision that this release knows.
    """

    def __init__(self, found: str, known: str) -> None:
        self.found = found
        self.known = known
        super().__init__(
            f"the database has schema revision {found!r}, this release of llmthrift knows up to {known!r}; "
            "upgrade llmthrift, or open another database"
        )


class EmbeddingError(LLMThriftError):
    """An embedder failed, or gave something that is no vector."""


class JudgeError(LLMThriftError):
    """An answer was not judged.

    Attributes:
        kind: "failed" where the judge raised, "unreadable" where its reply is no judgement: asked again, it would say the same.
        remembered: the reply was unreadable when the judge was asked before, and it was not asked again.
    """

    def __init__(self, message: str, *, kind: Literal["failed", "unreadable"], remembered: bool = False) -> None:
        self.kind = kind
        self.remembered = remembered
        super().__init__(message)


class PromptTooLongError(LLMThriftError, ValueError):
    """What must not be cut of a prompt is longer than the prompt may be.

    Attributes:
        max_input_tokens: the limit.
        tokens: of the prompt when all that may be cut was cut.
        cannot_cut: tokens by part, such as {"system prompt": 1200, "last question": 80}.
    """

    def __init__(self, max_input_tokens: int, tokens: int, cannot_cut: Mapping[str, int]) -> None:
        super().__init__(max_input_tokens, tokens, dict(cannot_cut))
        self.max_input_tokens = max_input_tokens
        self.tokens = tokens
        self.cannot_cut = dict(cannot_cut)

    def __str__(self) -> str:
        parts = ", ".join(f"{part}: {tokens:,}" for part, tokens in self.cannot_cut.items())
        return (
            f"the prompt has {self.tokens:,} tokens when all that may be cut is cut, and max_input_tokens is {self.max_input_tokens:,}; "
            f"what cannot be cut is {parts}. Raise max_input_tokens, or shorten these parts"
        )


class BatchError(LLMThriftError):
    """A batch job could not be sent, or does not end. What the provider has taken is kept, and can be gone on with.

    Attributes:
        job_id: of the job; "" where there is none yet.
    """

    def __init__(self, message: str, *, job_id: str = "") -> None:
        self.job_id = job_id
        super().__init__(message)


class NoModelQualifiesError(LLMThriftError):
    """No allowed model meets what a routing policy requires of this request.

    Attributes:
        required: what was required, in words with its figures.
        rejected: each allowed tier with why not.
    """

    def __init__(self, required: str, rejected: Sequence[tuple[str, str]]) -> None:
        self.required = required
        self.rejected = tuple(rejected)
        each = "; ".join(f"{tier}: {why}" for tier, why in self.rejected)
        super().__init__(f"no allowed model has {required} ({each}); require less, or allow another model")


class BudgetError(LLMThriftError):
    """A budget could not do what it was asked."""


class HoldEndedError(BudgetError):
    """A hold was to grow after it had been settled or released."""


class BudgetExceededError(BudgetError):
    """A budget refused a call. Amounts that do not apply are None.

    Attributes:
        budget: the budget's name.
        limit_usd, spent_usd, reserved_usd, requested_usd: Decimal US dollars.
        limit_tokens, spent_tokens, reserved_tokens, requested_tokens: tokens.
        limit_requests, spent_requests, reserved_requests: requests.
        limit_tool_calls, spent_tool_calls, requested_tool_calls: tool calls.
        limit_seconds, spent_seconds: wall time since the first call.
        scope: the attributes that the budget counts by, such as {"user": "ada"}.
        resets_at: when the window ends, or None.
        on_exceed: what the budget wants to happen: "block", "downgrade", "queue" or "warn".
    """

    def __init__(
        self,
        message: str,
        *,
        budget: str | None = None,
        limit_usd: Decimal | None = None,
        spent_usd: Decimal | None = None,
        reserved_usd: Decimal | None = None,
        requested_usd: Decimal | None = None,
        limit_tokens: int | None = None,
        spent_tokens: int | None = None,
        reserved_tokens: int | None = None,
        requested_tokens: int | None = None,
        limit_requests: int | None = None,
        spent_requests: int | None = None,
        reserved_requests: int | None = None,
        limit_tool_calls: int | None = None,
        spent_tool_calls: int | None = None,
        requested_tool_calls: int | None = None,
        limit_seconds: float | None = None,
        spent_seconds: float | None = None,
        scope: Mapping[str, str | None] | None = None,
        resets_at: datetime | None = None,
        on_exceed: str = "block",
    ) -> None:
        super().__init__(message)
        self.budget = budget
        self.limit_usd = limit_usd
        self.spent_usd = spent_usd
        self.reserved_usd = reserved_usd
        self.requested_usd = requested_usd
        self.limit_tokens = limit_tokens
        self.spent_tokens = spent_tokens
        self.reserved_tokens = reserved_tokens
        self.requested_tokens = requested_tokens
        self.limit_requests = limit_requests
        self.spent_requests = spent_requests
        self.reserved_requests = reserved_requests
        self.limit_tool_calls = limit_tool_calls
        self.spent_tool_calls = spent_tool_calls
        self.requested_tool_calls = requested_tool_calls
        self.limit_seconds = limit_seconds
        self.spent_seconds = spent_seconds
        self.scope = dict(scope or {})
        self.resets_at = resets_at
        self.on_exceed = on_exceed


def place_of(error: BaseException) -> str:
    """The kind of an exception and the line that raised it: what may be logged of one whose text could hold a prompt or a key."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    return type(error).__name__ + place
