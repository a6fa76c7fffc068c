"""`Proposal`: one change, with what it should save, how sure that is, what may go wrong, and the calls that show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Literal

from llmthrift_core.autopilot.estimates import (
    Saving,
    capped,
    cheaper_tier,
    equal_questions,
    longer_life,
    marked_prompts,
    paid_monthly,
    rule_of_thumb,
    shorter_prompts,
)
from llmthrift_core.autopilot.rules import BOUNDS
from llmthrift_core.money import to_usd
from llmthrift_core.statistics.sequential import FEWEST_UNITS

if TYPE_CHECKING:
    from llmthrift_core.autopilot.rules import AutopilotRules
    from llmthrift_core.pricing import PriceCatalog
    from llmthrift_core.reports.optimizations.report import OptimizationReport
    from llmthrift_core.versions import RouterVersions

Risk = Literal["low", "medium", "high"]
Standing = Literal["to be tried", "waits for approval", "given up before", "a canary cannot show it", "not applicable by itself"]

DEFAULT_TTL_SECONDS: Final = 3_600.0  # of a door whose policy says nothing else
_RISKS: Final[Mapping[str, tuple[Risk, str]]] = {
    "cache_ttl_seconds": ("low", "an answer may be older than it may be"),
    "semantic": ("medium", "a question may get the answer to another one"),
    "shorten": ("low", "a model may read a prompt with less white space otherwise"),
    "prompt_caching": ("low", "writes to the provider's cache may cost more than reading saves"),
    "output_cap_tokens": ("medium", "an answer that needs more may be cut"),
    "max_tier": ("high", "the weaker model may answer worse"),
}
_BY_RISK: Final = ("max_tier", "semantic", "output_cap_tokens", "shorten", "prompt_caching", "cache_ttl_seconds")
# What the report of opportunities finds and this changes itself, so that it is not said twice.
_COVERED: Final = frozenset({"unbounded_output"})


@dataclass(frozen=True, slots=True)
class Proposal:
    """One change.

    Attributes:
        id: names it to `approve`; the same change of the same configuration always has the same.
        tuning: the configuration; "" where no setting of a door is changed.
        kind: the setting, or the kind of opportunity.
        description: in words.
        before, after: of the setting.
        saving_usd: what it should save in 30 days like those that were seen.
        low_usd, high_usd: where that lies in 8 of 10 cases.
        basis: "ledger": from what the calls were and cost; "rule of thumb": nothing better is known.
        risk: "low", "medium" or "high". risk_is: what may go wrong.
        evidence: request ids of calls that show it.
        standing: what becomes of it.
        how: to do it by hand.
    """

    id: str
    tuning: str
    kind: str
    description: str
    before: Any
    after: Any
    saving_usd: Decimal
    low_usd: Decimal
    high_usd: Decimal
    basis: str
    risk: Risk
    risk_is: str
    evidence: tuple[str, ...]
    standing: Standing
    how: str

    def to_dict(self) -> dict[str, Any]:
        """Every attribute by name."""
        return {name: list(value) if isinstance(value := getattr(self, name), tuple) else value for name in self.__slots__}


def identity_of(tuning: str, setting: str, before: Any, after: Any) -> str:
    """The id of a change: of a number that of the step from where it is, since how far it goes follows from the calls of a day."""
    to = "next" if setting in BOUNDS else repr(after)
    return blake2b(f"{tuning}\x1e{setting}\x1e{before!r}\x1e{to}".encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def proposals_for(
    name: str,
    settings: Mapping[str, Any],
    rows: Sequence[Any],
    *,
    prices: PriceCatalog,
    rules: AutopilotRules,
    approved: Iterable[str] = (),
    given_up: Iterable[str] = (),
) -> list[Proposal]:
    """What could be changed for the doors that follow a configuration, the largest expected saving first.

    Args:
        settings: those of now.
        rows: of their calls, oldest first.
        approved, given_up: ids of changes.
    """
    approved, given_up = frozenset(approved), frozenset(given_up)
    found, least = [], max(1.0, rules.min_saving * paid_monthly(rows))
    is_uneven = equal_questions(rows) * rules.canary < FEWEST_UNITS
    for setting, before, after, saving in _changes(settings, rows, prices, rules):
        if saving is None or saving.high < least or not rules.permits(setting, before, after):
            continue
        number = identity_of(name, setting, before, after)
        standing: Standing = "to be tried" if setting in rules.allow or number in approved else "waits for approval"
        if number in given_up:
            standing = "given up before"
        elif standing == "to be tried" and setting == "cache_ttl_seconds" and is_uneven and number not in approved:
            standing = "a canary cannot show it"
        low, middle, high = sorted(to_usd(round(amount)) for amount in (saving.low, saving.middle, saving.high))
        risk, risk_is = _RISKS[setting]
        found.append(
            Proposal(
                id=number,
                tuning=name,
                kind=setting,
                description=f"{setting} of {name}: {'as built' if before is None else f'{before:g}' if _is_number(before) else before} -> "
                f"{f'{after:g}' if _is_number(after) else after}. {saving.why}",
                before=before,
                after=after,
                saving_usd=middle,
                low_usd=low,
                high_usd=high,
                basis=saving.basis,
                risk=risk,
                risk_is=risk_is,
                evidence=saving.evidence,
                standing=standing,
                how=f"thrift.configurations.save({name!r}, {{**settings, {setting!r}: {after!r}}})",
            )
        )
    return sorted(found, key=lambda each: (-each.saving_usd, each.kind))


def others(found: OptimizationReport, days: float) -> list[Proposal]:
    """What else could be saved, which no setting of a door changes: prefix marks, thresholds, sellers, retries and so on."""
    factor = Decimal(str(round(30 / days, 6))) if days else Decimal(0)
    return [
        Proposal(
            id=identity_of("", each.kind, None, each.description),
            tuning="",
            kind=each.kind,
            description=each.description,
            before=None,
            after=None,
            saving_usd=each.potential_savings_usd * factor,
            low_usd=each.low_usd * factor,
            high_usd=each.high_usd * factor,
            basis=each.basis,
            risk="medium",
            risk_is=f"what was assumed may not hold: {each.assumed}",
            evidence=each.evidence,
            standing="not applicable by itself",
            how=each.how,
        )
        for each in found
        if each.kind not in _COVERED
    ]


def refits(routers: RouterVersions) -> list[Proposal]:
    """Routers with a version that is newer than the active one: a refit that was saved and not activated."""
    found = []
    for name in routers.names():
        newest = routers.versions(name)[0]
        active = routers.store.active(name)
        if active is None or newest.version <= active or newest.activated_at is not None:
            continue
        found.append(
            Proposal(
                id=identity_of("", "router_refit", active, newest.label),
                tuning="",
                kind="router_refit",
                description=f"Router {name} has version {newest.version}, which was saved and never active; version {active} is.",
                before=active,
                after=newest.version,
                saving_usd=Decimal(0),
                low_usd=Decimal(0),
                high_usd=Decimal(0),
                basis="rule of thumb",
                risk="medium",
                risk_is=newest.note or "nothing is known of its quality",
                evidence=(),
                standing="not applicable by itself",
                how=f"llmthrift route roll-back {name} --to {newest.version}  # makes it the active one",
            )
        )
    return found


def riskiest(tuning: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The id of that change between two settings which may do most harm; "": there is none."""
    order = [setting for setting in _BY_RISK if before.get(setting) != after.get(setting)]
    return identity_of(tuning, order[0], before.get(order[0]), after.get(order[0])) if order else ""


def after_change(settings: Mapping[str, Any], proposal: Proposal) -> dict[str, Any]:
    """The settings with a change made."""
    return {**settings, proposal.kind: proposal.after}


def _changes(
    settings: Mapping[str, Any], rows: Sequence[Any], prices: PriceCatalog, rules: AutopilotRules
) -> Iterable[tuple[str, Any, Any, Saving | None]]:
    ttl = settings.get("cache_ttl_seconds")
    present = DEFAULT_TTL_SECONDS if ttl is None else float(ttl)
    longer = rules.within("cache_ttl_seconds", present * rules.max_change)
    if longer > present:
        yield "cache_ttl_seconds", ttl, longer, longer_life(rows, present, longer)
    cap = settings.get("output_cap_tokens")
    saving, proposed = capped(rows, cap, rules)
    if proposed is not None:
        yield "output_cap_tokens", cap, proposed, saving
    lower, saving = cheaper_tier(rows, prices, settings.get("max_tier"))
    if lower is not None:
        yield "max_tier", settings.get("max_tier"), lower, saving
    if settings.get("shorten") is None:
        yield "shorten", None, "lossless", shorter_prompts(rows)
    if settings.get("prompt_caching") is not True:
        yield "prompt_caching", settings.get("prompt_caching"), True, marked_prompts(rows)
    if settings.get("semantic") is False:
        why = "Rule of thumb: a tenth of the questions mean the same as an earlier one."
        yield "semantic", False, True, rule_of_thumb(rows, low=0.0, middle=0.1, high=0.2, why=why)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
