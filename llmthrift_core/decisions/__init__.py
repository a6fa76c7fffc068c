"""Plans: what a context costs, build or buy, return on investment, what would have been if, and proofs on recorded answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.exports import lazy_exports

if TYPE_CHECKING:
    from llmthrift_core.decisions.advising import Advice as Advice
    from llmthrift_core.decisions.advising import AdviceReport as AdviceReport
    from llmthrift_core.decisions.advising import advise as advise
    from llmthrift_core.decisions.contexts import ContextCost as ContextCost
    from llmthrift_core.decisions.contexts import ConversationCost as ConversationCost
    from llmthrift_core.decisions.contexts import context_cost as context_cost
    from llmthrift_core.decisions.contexts import conversation_cost as conversation_cost
    from llmthrift_core.decisions.hosting import ApiCost as ApiCost
    from llmthrift_core.decisions.hosting import Band as Band
    from llmthrift_core.decisions.hosting import BuildOrBuy as BuildOrBuy
    from llmthrift_core.decisions.hosting import Hybrid as Hybrid
    from llmthrift_core.decisions.hosting import SelfHosted as SelfHosted
    from llmthrift_core.decisions.hosting import build_or_buy as build_or_buy
    from llmthrift_core.decisions.proving import Proof as Proof
    from llmthrift_core.decisions.proving import Way as Way
    from llmthrift_core.decisions.proving import prove as prove
    from llmthrift_core.decisions.replay import WhatIf as WhatIf
    from llmthrift_core.decisions.replay import what_if as what_if
    from llmthrift_core.decisions.returns import Roi as Roi
    from llmthrift_core.decisions.returns import roi as roi
    from llmthrift_core.decisions.shortening import SentPrompt as SentPrompt
    from llmthrift_core.decisions.shortening import ShorteningSimulation as ShorteningSimulation
    from llmthrift_core.decisions.shortening import simulate_shortening as simulate_shortening
    from llmthrift_core.decisions.tier_mixes import TierMix as TierMix
    from llmthrift_core.decisions.tier_mixes import tier_mix as tier_mix

__all__ = [
    "Advice",
    "AdviceReport",
    "ApiCost",
    "Band",
    "BuildOrBuy",
    "ContextCost",
    "ConversationCost",
    "Hybrid",
    "Proof",
    "Roi",
    "SelfHosted",
    "SentPrompt",
    "ShorteningSimulation",
    "TierMix",
    "Way",
    "WhatIf",
    "advise",
    "build_or_buy",
    "context_cost",
    "conversation_cost",
    "prove",
    "roi",
    "simulate_shortening",
    "tier_mix",
    "what_if",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "llmthrift_core.decisions.advising": ("Advice", "AdviceReport", "advise"),
        "llmthrift_core.decisions.contexts": ("ContextCost", "ConversationCost", "context_cost", "conversation_cost"),
        "llmthrift_core.decisions.hosting": ("ApiCost", "Band", "BuildOrBuy", "Hybrid", "SelfHosted", "build_or_buy"),
        "llmthrift_core.decisions.proving": ("Proof", "Way", "prove"),
        "llmthrift_core.decisions.replay": ("WhatIf", "what_if"),
        "llmthrift_core.decisions.returns": ("Roi", "roi"),
        "llmthrift_core.decisions.shortening": ("SentPrompt", "ShorteningSimulation", "simulate_shortening"),
        "llmthrift_core.decisions.tier_mixes": ("TierMix", "tier_mix"),
    },
    names=__all__,
    needs={"llmthrift_core.decisions.proving": ("routing", "numpy")},
)
