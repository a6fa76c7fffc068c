"""Which prefix of a request to write to the provider's prompt cache: learned from what came back, decided in money.

A token that is written costs a premium now. If its prefix is sent again within its life, it is read at a fraction of its price, and need
not be written then. With the probability p of coming back and the worth D of having been written, a write pays where p * D exceeds the
premium; D is the saving of the read, and what would then be paid for the write otherwise: at most the premium, or what a write is worth at
that time. What is worth p * D is learned, see `ReuseModel`. Every prefix that is sent is a lesson, whether it was marked or not.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompt_caching.candidates import Candidate, candidates_of
from llmthrift_core.prompt_caching.plan import Plan
from llmthrift_core.prompt_caching.prefix_tree import Node, PrefixTree
from llmthrift_core.prompt_caching.reuse import ReuseModel
from llmthrift_core.prompt_caching.terms import CacheTerms
from llmthrift_core.prompt_caching.trust import Trust
from llmthrift_core.prompt_caching.unread import UnreadWrites, Write
from llmthrift_core.prompt_caching.waiting import Pauses, Question, Waiting

if TYPE_CHECKING:
    from llmthrift_core.usage.usage import Usage

_MAX_BLOCKS: Final = 1 << 20
# Before anything is learned: a follow-up comes in a third of cases; what was seen twice is likelier than not to be seen again.
_PRIORS: Final = {"new": 0.35, "last": 0.35, "known": 0.55}
# Premiums are paid from what reads have saved. On credit: so many tokens, and so large a share of all that was sent.
_CREDIT_TOKENS: Final = 200_000.0
_CREDIT_SHARE: Final = 0.01
# What comes back in at least this share of cases has this many times the credit, so that earlier losses do not stop what is known to pay.
_SURE: Final = 0.6
_CREDIT_IF_SURE: Final = 4.0
# A clock that is set back further than this is taken to go on from where it was; less is a call that arrives late.
_LATE_SECONDS: Final = 60.0
_DONE: Final = object()


class PrefixPlanner:
    """Plans the provider's prompt cache for one model.

    It learns as it plans: by how prefixes of which size, turn, pause and call site came back. State is bounded, can be saved, loaded and
    merged with that of other processes. A planner may be used from several threads.

    Args:
        terms: the provider's terms, or several among which each request may choose.
        max_blocks: how many blocks of known prefixes are remembered; those that were not used for longest are forgotten.
        input_usd_per_million: the input price, for plans in dollars.

    Raises:
        ConfigurationError: no terms, or an option that cannot be.
    """

    def __init__(
        self,
        terms: CacheTerms | Iterable[CacheTerms],
        *,
        max_blocks: int = _MAX_BLOCKS,
        input_usd_per_million: Decimal | float | None = None,
    ) -> None:
        self.terms = _checked(terms)
        if isinstance(max_blocks, bool) or not isinstance(max_blocks, int) or max_blocks < 1:
            raise ConfigurationError(f"PrefixPlanner(max_blocks={max_blocks!r}): give a whole number of at least 1")
        self.input_usd_per_million = None if input_usd_per_million is None else Decimal(str(input_usd_per_million))
        self.trust = Trust()
        # What has not come back within the shortest life is counted so; where it comes back within a longer one, that is counted then.
        self._longest = min(terms.ttl_seconds for terms in self.terms)
        self._tops = [max(1e-9, 1 - terms.read + max(0.0, terms.premium)) for terms in self.terms]
        self._premiums = [max(0.0, terms.premium) for terms in self.terms]
        self._models = [ReuseModel(_PRIORS) for _ in self.terms]
        self._tree = PrefixTree(max_blocks=max_blocks)
        self._waiting = Waiting(Pauses(self._longest))
        self._unread = UnreadWrites()
        self._now = -math.inf
        self._shift = 0.0
        self._balance = 0.0
        self._sent = 0.0
        self._lock = ForkedLock()

    @property
    def known_blocks(self) -> int:
        """How many blocks are remembered."""
        return self._tree.blocks

    @property
    def sent_tokens(self) -> float:
        """How many tokens all planned requests had."""
        return self._sent

    @property
    def balance_tokens(self) -> float:
        """What reads have saved less what writes have cost, as planned and as far as observed, in input tokens."""
        return self._balance

    def plan(self, blocks: Sequence[tuple[Hashable, int]], *, at: float, call_site: str | None = None) -> Plan:
        """Decide about a request that is about to be sent, and learn from it.

        Args:
            blocks: the prompt from its beginning, as blocks of an identifier and a number of tokens.
            at: the time in seconds, of any clock.
            call_site: where in the application the request is made.

        Raises:
            ConfigurationError: blocks that are no pairs of an identifier and a count, or a time that is no number.
        """
        ids, tokens = _parts(blocks)
        if isinstance(at, bool) or not isinstance(at, int | float) or not math.isfinite(at):
            raise ConfigurationError(f"plan(at={at!r}): give the time in seconds")
        with self._lock:
            return self._plan(ids, tokens, self._time(float(at)), call_site)

    def kept_tokens(self, blocks: Sequence[tuple[Hashable, int]], *, at: float) -> int:
        """How much of a prompt the provider should have, in tokens. Plans nothing, and learns nothing.

        Raises:
            ConfigurationError: blocks that are no pairs of an identifier and a count.
        """
        ids, tokens = _parts(blocks)
        with self._lock:
            return sum(tokens[: self._tree.kept_until(ids, max(self._now, at + self._shift))])

    def observe(self, plan: Plan, usage: Usage) -> None:
        """Take in what the provider billed for a planned request: what it read and wrote, in place of what was expected.

        Where it reads less than it should, later plans count on less; where it kept a prefix longer, the prefix counts as kept. The
        provider's tokens are scaled to the plan's, which another tokenizer may have counted.
        """
        with self._lock:
            scale = plan.total_tokens / usage.input_tokens if usage.input_tokens and plan.total_tokens else 1.0
            self.trust.sent += plan.total_tokens
            self.trust.counted += usage.input_tokens
            read = round(usage.cache_read_tokens * scale)
            written = min(round(usage.cache_write_tokens * scale), max(0, plan.total_tokens - read))
            self.trust.note(plan, read, written)
            terms = plan.terms or self.terms[0]
            planned = (1 - terms.read) * plan.read_tokens - terms.premium * plan.written_tokens
            self._balance += (1 - terms.read) * read - terms.premium * written - planned
            reached, kept = 0, read + written
            for node in plan.path:
                reached += node.tokens
                if node.parent is None:
                    break
                if reached <= kept:
                    if node.live_until < plan.at_seconds:
                        node.ttl_seconds = node.ttl_seconds or terms.ttl_seconds
                        node.live_until = plan.at_seconds + node.ttl_seconds
                elif reached <= plan.marked_tokens and reached > kept + 256:  # counts of other tokenizers differ a little
                    node.live_until, node.unread = -math.inf, None

    def take_unread(self, call_site: str | None = None) -> float:
        """What writes of a call site have cost that expired without a read, in input tokens of the provider; since this was last asked."""
        with self._lock:
            return self._unread.take(call_site) * self.trust.scale

    def dump(self, *, most_blocks: int | None = None) -> bytes:
        """What was learned, for `load` and `merge`.

        Args:
            most_blocks: of the prefixes that were used last, about so many blocks; None: all that are known.
        """
        from llmthrift_core.prompt_caching.state import collected, packed

        with self._lock:
            state = collected(self, most_blocks)
        return packed(state)

    def load(self, state: bytes) -> None:
        """Go on where another planner stopped, on the same terms; what this one learned is replaced.

        Raises:
            ConfigurationError: no such state, or one of other terms.
        """
        from llmthrift_core.prompt_caching.state import taking, unpacked

        read = unpacked(state, self)
        with self._lock:
            for _ in taking(self, read, replace=True):
                pass

    def merge(self, state: bytes) -> None:
        """Take in what a planner of another process learned, on the same terms. The same state twice changes nothing.

        Plans need not wait until all of it is taken in.

        Raises:
            ConfigurationError: no such state, or one of other terms.
        """
        from llmthrift_core.prompt_caching.state import taking, unpacked

        steps = taking(self, unpacked(state, self), replace=False)
        is_done = False
        while not is_done:
            with self._lock:
                is_done = next(steps, _DONE) is _DONE

    def _time(self, at: float) -> float:
        now = at + self._shift
        if now < self._now - _LATE_SECONDS:
            self._shift += self._now - now
            now = self._now
        self._now = max(self._now, now)
        return self._now

    def _plan(self, ids: tuple[Hashable, ...], tokens: tuple[int, ...], now: float, site: str | None) -> Plan:
        waiting, tree = self._waiting, self._tree
        waiting.settle(now, self._count)
        self._unread.settle(now)
        path, matched = tree.walk(ids, tokens)
        kept = 0
        for node in path:
            if node.live_until < now:
                break
            kept += 1
        candidates = candidates_of(path, kept, ids, tokens, matched, now, site, tree.root)
        read = sum(tokens[: sum(len(node.blocks) for node in path[:kept])])
        total = sum(tokens)
        choice, end, gain, worths = self._choose(candidates)
        terms = self.terms[choice]
        sure = bool(end) and min(worths[choice][:end]) >= _SURE * self._tops[choice]
        end, gain, kept_back = self._afforded(candidates, end, gain, terms, total, credit=_CREDIT_IF_SURE if sure else 1.0)
        if kept and not end:  # it lives on as it was written
            life = path[kept - 1].ttl_seconds
            terms = next((one for one in self.terms if one.ttl_seconds == life), terms)
        self._resolve(path, now, candidates, worths)
        for node in path:
            node.last_seconds = now
            node.uses += 1
            if node.live_until >= now:
                node.live_until, node.unread = now + node.ttl_seconds, None
        written = sum(candidate.tokens for candidate in candidates[:end])
        # What is below the minimum is skipped by the provider, and costs nothing: it is not taken as written.
        short = read + written < terms.min_tokens
        if total < terms.min_tokens:
            end = read = written = 0
        self._grow(path, candidates, end, now, None if short else terms, site)
        self._sent += total
        if short:
            gain = 0.0
            kept_back = f"below {counted(terms.min_tokens, 'token')} the provider keeps nothing"
        else:
            self._balance += (1 - terms.read) * read - terms.premium * written
            gain += (1 - terms.read) * read * self.trust.share
        marked_blocks = sum(len(node.blocks) for node in path[: kept + end]) if read or written else 0
        return Plan(
            marked_tokens=read + written,
            marked_blocks=marked_blocks,
            marks=_marks(path, kept, kept + end, terms.max_marks) if marked_blocks else (),
            terms=terms if marked_blocks else None,
            read_tokens=0 if short else read,
            written_tokens=0 if short else written,
            total_tokens=total,
            expected_saving=gain,
            input_usd_per_million=self.input_usd_per_million,
            kept_back=kept_back,
            trust=self.trust.share,
            at_seconds=now,
            path=path,
        )

    def _choose(self, candidates: list[Candidate]) -> tuple[int, int, float, list[list[float]]]:
        """The terms, how many candidates to write, what that should save; and by terms the worth of each."""
        best, end, gain = 0, 0, -1.0
        worths = []
        for index, terms in enumerate(self.terms):
            model, scale, premium = self._models[index], self._tops[index] * self.trust.share, terms.premium
            row, sum_, best_sum, best_end = [], 0.0, 0.0, 0
            for count, candidate in enumerate(candidates, start=1):
                worth = scale * model.estimate(candidate.kind, candidate.circumstances, candidate.siblings)
                row.append(worth)
                sum_ += (worth - premium) * candidate.tokens
                if sum_ >= best_sum:
                    best_sum, best_end = sum_, count
            worths.append(row)
            if best_sum > gain:
                best, end, gain = index, best_end, best_sum
        return best, end, gain, worths

    def _afforded(
        self, candidates: list[Candidate], end: int, gain: float, terms: CacheTerms, total: int, *, credit: float
    ) -> tuple[int, float, str]:
        """As much of a plan as reads have paid for, so that a planner that is wrong costs little."""
        if not end:
            return 0, 0.0, "" if not candidates else "what is new is not expected to come back often enough"
        limit = self._balance + credit * (_CREDIT_TOKENS + _CREDIT_SHARE * (self._sent + total))
        cost = 0.0
        for index in range(end):
            cost += terms.premium * candidates[index].tokens
            if cost > limit:
                return index, 0.0 if not index else gain, "earlier writes have not paid yet"
        return end, gain, "" if end == len(candidates) else "what follows is not expected to come back often enough"

    def _resolve(self, path: list[Node], now: float, candidates: list[Candidate], worths: list[list[float]]) -> None:
        """Answer the questions of what has come back: it was worth a read, and what it would be worth to write it now."""
        # Who goes on to the end of the prompt comes back if that does; where requests part, and where all is kept, something will.
        end = self._tops
        own: dict[int, list[float]] = {}
        if candidates:
            main = len(candidates) - (2 if len(candidates) > 1 and candidates[-2].kind == "new" else 1)
            end = [row[main] for row in worths]
            own = {id(one.node): [row[index] for row in worths] for index, one in enumerate(candidates) if one.node is not None}
        for node in path:
            question = node.asked
            if question is None:
                continue
            pause = now - question.at_seconds
            later = own.get(id(node)) or (self._tops if len(node.children) > 1 else end)
            answer = tuple(
                (1 - terms.read + self._spared(index, later)) / self._tops[index] if pause <= terms.ttl_seconds else 0.0
                for index, terms in enumerate(self.terms)
            )
            self._waiting.answer(question, now, answer)
            node.asked = None

    def _spared(self, index: int, later: list[float]) -> float:
        """What need not be paid for writing a prefix again, now that it was kept: not more than the best of the terms would take then."""
        worth, premiums = later[index], self._premiums
        if len(later) == 1:
            least = premiums[0]
        else:
            least = worth + min(premium - other for premium, other in zip(premiums, later, strict=True))
        return max(0.0, min(worth, least))

    def _grow(
        self, path: list[Node], candidates: list[Candidate], end: int, now: float, terms: CacheTerms | None, site: str | None
    ) -> None:
        """Put what is new into the tree, mark what is written, and ask whether each comes back."""
        for index, candidate in enumerate(candidates):
            node = candidate.node
            if node is None:
                node = self._tree.grow(path[-1] if path else None, candidate.blocks, candidate.tokens)
                node.last_seconds, node.uses = now, 1
                path.append(node)
            if index < end and terms is not None:
                node.live_until, node.ttl_seconds = now + terms.ttl_seconds, terms.ttl_seconds
                if terms.premium > 0:
                    self._unread.add(node, Write(node.live_until, terms.premium, site))
            self._waiting.ask(node, Question(now, candidate.kind, candidate.circumstances, candidate.siblings, candidate.origin))
        if path:
            self._tree.rest(path[-1])
        self._tree.forget()

    def _count(self, question: Question, weight: float) -> None:
        """Learn from an answer, or from as much of a negative one as is due."""
        origin = question.origin
        worths = question.worths
        if origin is not None:
            origin.tried += weight
            origin.returned += 1.0 if any(worths) else 0.0
        for index, model in enumerate(self._models):
            model.learn(question.kind, question.circumstances, question.siblings, worths[index] if worths else 0.0, weight)


def _checked(terms: CacheTerms | Iterable[CacheTerms]) -> tuple[CacheTerms, ...]:
    """The terms, without those that another is better than in every respect."""
    given = (terms,) if isinstance(terms, CacheTerms) else tuple(terms) if isinstance(terms, Iterable) else ()
    if not given or not all(isinstance(one, CacheTerms) for one in given):
        raise ConfigurationError(
            f"PrefixPlanner({terms!r}): give CacheTerms, one or several; for a model without terms there is no planner"
        )
    kept: list[CacheTerms] = []
    for one in given:
        if not any(_is_as_good(other, one) and (other != one or other in kept) for other in given if other is not one or other in kept):
            kept.append(one)
    return tuple(kept) or given[:1]


def _is_as_good(a: CacheTerms, b: CacheTerms) -> bool:
    return a.premium <= b.premium and a.read <= b.read and a.ttl_seconds >= b.ttl_seconds and a.min_tokens <= b.min_tokens


def _parts(blocks: Sequence[tuple[Hashable, int]]) -> tuple[tuple[Hashable, ...], tuple[int, ...]]:
    try:
        pairs: Any = tuple(zip(*blocks, strict=True))
        ids, tokens = pairs or ((), ())
        hash(ids)
        is_sound = {int}.issuperset(map(type, tokens)) and (not tokens or min(tokens) >= 0)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"plan(): blocks are pairs of an identifier and its number of tokens ({error})") from None
    if not is_sound:
        wrong = next((block for block in blocks if type(block[1]) is not int or block[1] < 0), None)
        raise ConfigurationError(f"plan(): the tokens of a block are a whole number of at least 0, not as in {wrong!r}")
    return ids, tokens


def _marks(path: list[Node], kept: int, end: int, most: int) -> tuple[int, ...]:
    """Where to put marks: the end of the prefix, the end of what is kept, and the deepest places at which requests part."""
    if not most:
        return ()
    ends, reached = [], 0
    for node in path[:end]:
        reached += len(node.blocks)
        ends.append(reached)
    wanted = [end - 1]
    if 0 < kept < end:
        wanted.append(kept - 1)
    wanted += [index for index in range(end - 2, -1, -1) if len(path[index].children) > 1 and index not in wanted]
    return tuple(sorted(ends[index] for index in wanted[:most]))
