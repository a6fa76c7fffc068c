"""Choosing a model: policies decide a tier for a request, cheapest tier first."""

from llmthrift_core.routing.complexity import Complexity
from llmthrift_core.routing.decision import RouteDecision
from llmthrift_core.routing.fallbacks import fallback_order, fallback_reason
from llmthrift_core.routing.policy import CallablePolicy, RoutingPolicy, as_policy
from llmthrift_core.routing.request import RouteRequest
from llmthrift_core.routing.rules import (
    Predicate,
    Rule,
    Rules,
    contains,
    feature_is,
    has_images,
    has_tools,
    longer_than,
    matches,
    request_type_is,
    structured_output,
    tag_is,
    user_in,
)
from llmthrift_core.routing.tiers import Tiers

__all__ = [
    "CallablePolicy",
    "Complexity",
    "Predicate",
    "RouteDecision",
    "RouteRequest",
    "RoutingPolicy",
    "Rule",
    "Rules",
    "Tiers",
    "as_policy",
    "contains",
    "fallback_order",
    "fallback_reason",
    "feature_is",
    "has_images",
    "has_tools",
    "longer_than",
    "matches",
    "request_type_is",
    "structured_output",
    "tag_is",
    "user_in",
]
