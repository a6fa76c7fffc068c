"""Choosing a model: policies decide a tier for a request, cheapest tier first.

Names are loaded on first use: the policies' patterns and predicates take some milliseconds that a program without a router never spends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.exports import lazy_exports

if TYPE_CHECKING:
    from llmthrift_core.routing.adaptive.policy import Adaptive as Adaptive
    from llmthrift_core.routing.cascades.cascade import Cascade as Cascade
    from llmthrift_core.routing.cascades.cascade import CascadePolicy as CascadePolicy
    from llmthrift_core.routing.examples import Example as Example
    from llmthrift_core.routing.examples import Examples as Examples
    from llmthrift_core.routing.examples import examples_of_file as examples_of_file
    from llmthrift_core.routing.fallback_chain import FallbackChain as FallbackChain
    from llmthrift_core.routing.fallbacks import fallback_order as fallback_order
    from llmthrift_core.routing.fallbacks import fallback_reason as fallback_reason
    from llmthrift_core.routing.learned.router import LearnedPolicy as LearnedPolicy
    from llmthrift_core.routing.learned.router import LearnedRouter as LearnedRouter
    from llmthrift_core.routing.needed_tier import Needed as Needed
    from llmthrift_core.routing.needed_tier import NeededTier as NeededTier
    from llmthrift_core.routing.policies.bounds import Bounded as Bounded
    from llmthrift_core.routing.policies.bounds import Bounds as Bounds
    from llmthrift_core.routing.policies.bounds import Capabilities as Capabilities
    from llmthrift_core.routing.policies.complexity import Complexity as Complexity
    from llmthrift_core.routing.policies.followed import FollowedRouter as FollowedRouter
    from llmthrift_core.routing.policies.profiles import Profile as Profile
    from llmthrift_core.routing.policies.profiles import Profiles as Profiles
    from llmthrift_core.routing.policies.rated_complexity import RatedComplexity as RatedComplexity
    from llmthrift_core.routing.policies.rules import CallablePolicy as CallablePolicy
    from llmthrift_core.routing.policies.rules import PolicyWrapper as PolicyWrapper
    from llmthrift_core.routing.policies.rules import Predicate as Predicate
    from llmthrift_core.routing.policies.rules import Rule as Rule
    from llmthrift_core.routing.policies.rules import Rules as Rules
    from llmthrift_core.routing.policies.rules import as_policy as as_policy
    from llmthrift_core.routing.policies.rules import contains as contains
    from llmthrift_core.routing.policies.rules import feature_is as feature_is
    from llmthrift_core.routing.policies.rules import has_images as has_images
    from llmthrift_core.routing.policies.rules import has_tools as has_tools
    from llmthrift_core.routing.policies.rules import longer_than as longer_than
    from llmthrift_core.routing.policies.rules import matches as matches
    from llmthrift_core.routing.policies.rules import request_type_is as request_type_is
    from llmthrift_core.routing.policies.rules import structured_output as structured_output
    from llmthrift_core.routing.policies.rules import tag_is as tag_is
    from llmthrift_core.routing.policies.rules import user_in as user_in
    from llmthrift_core.routing.policies.sticky import Sticky as Sticky
    from llmthrift_core.routing.policies.upgrading import Upgrading as Upgrading
    from llmthrift_core.routing.policy import RoutingPolicy as RoutingPolicy
    from llmthrift_core.routing.simulation.report import SimulationReport as SimulationReport
    from llmthrift_core.routing.simulation.simulate import simulate as simulate
    from llmthrift_core.routing.simulation.traffic import Traffic as Traffic
    from llmthrift_core.routing.types import AnswerContext as AnswerContext
    from llmthrift_core.routing.types import Review as Review
    from llmthrift_core.routing.types import RouteDecision as RouteDecision
    from llmthrift_core.routing.types import RouteRequest as RouteRequest
    from llmthrift_core.routing.types import Tiers as Tiers
    from llmthrift_core.routing.types import ToolCall as ToolCall

__all__ = [
    "Adaptive",
    "AnswerContext",
    "Bounded",
    "Bounds",
    "CallablePolicy",
    "Capabilities",
    "Cascade",
    "CascadePolicy",
    "Complexity",
    "Example",
    "Examples",
    "FallbackChain",
    "FollowedRouter",
    "LearnedPolicy",
    "LearnedRouter",
    "Needed",
    "NeededTier",
    "PolicyWrapper",
    "Predicate",
    "Profile",
    "Profiles",
    "RatedComplexity",
    "Review",
    "RouteDecision",
    "RouteRequest",
    "RoutingPolicy",
    "Rule",
    "Rules",
    "SimulationReport",
    "Sticky",
    "Tiers",
    "ToolCall",
    "Traffic",
    "Upgrading",
    "as_policy",
    "contains",
    "examples_of_file",
    "fallback_order",
    "fallback_reason",
    "feature_is",
    "has_images",
    "has_tools",
    "longer_than",
    "matches",
    "request_type_is",
    "simulate",
    "structured_output",
    "tag_is",
    "user_in",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "llmthrift_core.routing.adaptive.policy": ("Adaptive",),
        "llmthrift_core.routing.cascades.cascade": ("Cascade", "CascadePolicy"),
        "llmthrift_core.routing.examples": ("Example", "Examples", "examples_of_file"),
        "llmthrift_core.routing.fallback_chain": ("FallbackChain",),
        "llmthrift_core.routing.fallbacks": ("fallback_order", "fallback_reason"),
        "llmthrift_core.routing.learned.router": ("LearnedPolicy", "LearnedRouter"),
        "llmthrift_core.routing.needed_tier": ("Needed", "NeededTier"),
        "llmthrift_core.routing.policies.bounds": ("Bounded", "Bounds", "Capabilities"),
        "llmthrift_core.routing.policies.complexity": ("Complexity",),
        "llmthrift_core.routing.policies.followed": ("FollowedRouter",),
        "llmthrift_core.routing.policies.profiles": ("Profile", "Profiles"),
        "llmthrift_core.routing.policies.rated_complexity": ("RatedComplexity",),
        "llmthrift_core.routing.policies.rules": (
            "CallablePolicy",
            "PolicyWrapper",
            "Predicate",
            "Rule",
            "Rules",
            "as_policy",
            "contains",
            "feature_is",
            "has_images",
            "has_tools",
            "longer_than",
            "matches",
            "request_type_is",
            "structured_output",
            "tag_is",
            "user_in",
        ),
        "llmthrift_core.routing.policies.sticky": ("Sticky",),
        "llmthrift_core.routing.policies.upgrading": ("Upgrading",),
        "llmthrift_core.routing.policy": ("RoutingPolicy",),
        "llmthrift_core.routing.simulation.report": ("SimulationReport",),
        "llmthrift_core.routing.simulation.simulate": ("simulate",),
        "llmthrift_core.routing.simulation.traffic": ("Traffic",),
        "llmthrift_core.routing.types": ("AnswerContext", "Review", "RouteDecision", "RouteRequest", "Tiers", "ToolCall"),
    },
    names=__all__,
    needs={
        "llmthrift_core.routing.cascades.cascade": ("routing", "numpy"),
        "llmthrift_core.routing.learned.router": ("routing", "numpy"),
        "llmthrift_core.routing.simulation.simulate": ("routing", "numpy"),
        "llmthrift_core.routing.simulation.traffic": ("routing", "numpy"),
    },
)
