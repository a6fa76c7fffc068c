"""Asking a policy that may be anybody's code: what it gets wrong is noted, and costs neither the call nor its limits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from llmthrift_core.background.failures import described
from llmthrift_core.cache.keys import UncacheableError
from llmthrift_core.errors import ConfigurationError, NoModelQualifiesError
from llmthrift_core.routing.policy import RoutingPolicy, private_texts
from llmthrift_core.routing.types import Review, RouteDecision, RouteRequest, Tiers
from llmthrift_core.settings import is_observing

Note = Callable[[str, Exception, Sequence[str]], None]
"""Counts and logs a failure: `Thrift.note_failure`."""

_WHERE: Final = "routing policy"


def decided(policy: RoutingPolicy, request: RouteRequest, tiers: Tiers, note: Note) -> RouteDecision:
    """The policy's decision; the strongest allowed tier where it fails, or decides for something else than one of these tiers.

    Raises:
        NoModelQualifiesError: the policy refuses. Not in observe mode, where nothing is refused.
    """
    name = type(policy).__name__
    try:
        decision = policy.decide(request, tiers)
        if _is_sound(decision, tiers):
            return decision
        why = f"{name} decided for none of {', '.join(tiers.names)}"
        note(_WHERE, ConfigurationError(why), private_texts(request))
    except NoModelQualifiesError as refused:
        if not is_observing():
            raise
        why = f"{name} refuses: nothing has {refused.required}"
    except Exception as error:
        note(_WHERE, error, private_texts(request))
        why = f"{name} failed with {type(error).__name__}"
    return RouteDecision(tiers.names[-1], f"{why}; the strongest allowed")


def reviewed(
    policy: RoutingPolicy,
    request: RouteRequest,
    tier: str,
    answer: str,
    tiers: Tiers,
    context: Mapping[str, Any],
    *,
    tried: Collection[str],
    note: Note,
) -> Review | None:
    """What the policy thinks of an answer; None, so that it is kept, where it fails or asks for a tier that is not allowed, or was asked.

    Args:
        tried: tiers that were asked before this one: without end, two of them could be asked in turns.
    """
    private = (*private_texts(request), answer)
    try:
        found = policy.review(request, tier, answer, tiers, context)
        if found is None:
            return None
        following = found.next
        if isinstance(found, Review) and (
            following is None or (_is_sound(following, tiers) and following.tier != tier and following.tier not in tried)
        ):
            return found
        why = f"{type(policy).__name__} asks for none of {', '.join(tiers.names)} that was not asked yet"
        note(_WHERE, ConfigurationError(why), private)
    except Exception as error:
        note(_WHERE, error, private)
    return None


def allowed_tiers(policy: RoutingPolicy, request: RouteRequest, tiers: Tiers) -> Tiers:
    """The tiers within the policy's bounds, and never others than these; all of them in observe mode, where nothing is refused.

    Raises:
        NoModelQualifiesError: there are none, or they cannot be told: bounds that fail do not let through what they may forbid.
    """
    if is_observing():
        return tiers
    why = "its bounds name none of the tiers"
    try:
        left = policy.allowed(request, tiers)
        names = tuple(name for name in tiers.names if name in left.names)
    except NoModelQualifiesError:
        raise
    except Exception as error:
        names, why = (), f"its bounds fail with {described(error, private_texts(request))}"
    if not names:
        raise NoModelQualifiesError(f"what {type(policy).__name__} requires", [(name, why) for name in tiers.names])
    return tiers if names == tiers.names else Tiers(names, tiers.price_tier)


def version_of(policy: RoutingPolicy) -> str | None:
    """The policy's version; None where it gives no text: its calls are not cached then."""
    try:
        version = policy.version
    except Exception:
        return None
    return version if isinstance(version, str) else None


def policy_identity(policy: RoutingPolicy) -> bytes:
    """The policy's part of a cache key.

    Raises:
        UncacheableError: it has no version.
    """
    version = version_of(policy)
    if version is None:
        raise UncacheableError(f"the version of the routing policy {type(policy).__name__} is no text")
    return version.encode("utf-8", "surrogatepass")


def _is_sound(decision: object, tiers: Tiers) -> bool:
    return (
        isinstance(decision, RouteDecision)
        and decision.tier in tiers.names
        and isinstance(decision.rejected, tuple)
        and isinstance(decision.qualities, Mapping)
    )
