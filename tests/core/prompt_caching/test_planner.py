"""What the planner decides and learns, in traffic that is made here; a provider that bills is simulated block by block."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmthrift_core import Usage
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompt_caching import CacheTerms, PrefixPlanner

FIVE = CacheTerms(write=1.25, read=0.1, ttl_seconds=300, min_tokens=0)
HALF_HOUR = CacheTerms(write=1.25, read=0.1, ttl_seconds=1800, min_tokens=0)
HOUR = CacheTerms(write=2.0, read=0.1, ttl_seconds=3600, min_tokens=0)
ALL = (FIVE, HALF_HOUR, HOUR)


class Provider:
    """Bills as the providers do, with a chain of blocks as the key."""

    def __init__(self):
        self.kept = {}

    def bill(self, blocks, at, marked_tokens, terms):
        price, reached, is_kept, key, read, written = 0.0, 0, True, (), 0, 0
        for block, tokens in blocks:
            reached += tokens
            key = hash((key, block))
            until, life = self.kept.get(key, (-1.0, 0.0))
            is_kept = is_kept and at <= until
            if is_kept and reached <= marked_tokens:
                price, read = price + terms.read * tokens, read + tokens
                self.kept[key] = (at + life, life)
            elif reached <= marked_tokens:
                price, written = price + terms.write * tokens, written + tokens
                self.kept[key] = (at + terms.ttl_seconds, terms.ttl_seconds)
            else:
                price += tokens
        return price, read, written


def share_paid(requests, planner, terms):
    """What the planner's plans cost, and marking everything, as shares of the uncached price."""
    ours, all_ = Provider(), Provider()
    paid = everything = total = 0.0
    for at, blocks in requests:
        plan = planner.plan(blocks, at=at)
        tokens = sum(tokens for _, tokens in blocks)
        assert 0 <= plan.marked_tokens <= tokens
        paid += ours.bill(blocks, at, plan.marked_tokens, plan.terms or terms)[0]
        everything += all_.bill(blocks, at, tokens, terms)[0]
        total += tokens
    return paid / total, everything / total


def test_writes_that_expire_unread_are_counted_once_and_those_that_are_read_are_not():
    planner = PrefixPlanner(FIVE)
    planner.plan([("rules", 4_000), ("q1", 1_000)], at=0, call_site="a")
    planner.plan([("rules", 4_000), ("q2", 1_000)], at=100, call_site="b")  # reads the rules, and splits what was written
    assert planner.take_unread("a") == planner.take_unread("b") == 0
    planner.plan([("other", 10)], at=2_000, call_site="c")
    assert planner.take_unread("a") == 250
    assert planner.take_unread("b") in (0, 250)
    assert planner.take_unread("a") == planner.take_unread("c") == 0


def test_a_provider_that_counts_other_tokens_is_not_taken_to_forget():
    planner = PrefixPlanner(FIVE)
    for turn in range(6):  # it counts four tokens where the plan counts five
        plan = planner.plan([("rules", 20_000), *((f"turn {each}", 2_000) for each in range(turn + 1))], at=10 * turn)
        read, written = plan.read_tokens * 4 // 5, plan.written_tokens * 4 // 5
        planner.observe(plan, Usage(plan.total_tokens * 4 // 5, 10, cache_read_tokens=read, cache_write_tokens=written))
    assert plan.read_tokens == 30_000
    assert planner.trust.share > 0.99
    assert planner.trust.findings() == []


@pytest.mark.parametrize(("pause", "life"), [(20, 300), (1_500, 3_600), (9_000, None)])
def test_what_is_kept_lives_on_with_the_life_that_its_pauses_need(pause, life):
    planner = PrefixPlanner((FIVE, HOUR))
    for turn in range(60):
        plan = planner.plan([("rules", 20_000), (f"question {turn}", 300)], at=turn * pause)
    assert (plan.terms and plan.terms.ttl_seconds) == life
    assert plan.read_tokens == (20_000 if life else 0)


def conversation(name, turns, start=0.0, pause=10.0, tokens=800):
    blocks = [("system", 3000)]
    found = []
    for turn in range(turns):
        blocks = [*blocks, ((name, turn), tokens)]
        found.append((start + turn * pause, tuple(blocks)))
    return found


def unrelated(count, seed=1):
    rng = random.Random(seed)
    return [(float(number), tuple(((number, index), 512) for index in range(rng.randint(2, 20)))) for number in range(count)]


def test_a_prefix_that_was_written_is_read_until_its_life_ends():
    planner = PrefixPlanner(FIVE)
    prompt = [("system", 2000), ("question", 100)]
    first = planner.plan(prompt, at=0)
    assert (first.read_tokens, first.written_tokens) == (0, 2100)
    assert first.terms is FIVE
    assert planner.plan(prompt, at=299).read_tokens == 2100
    assert planner.plan(prompt, at=598).read_tokens == 2100, "a read keeps it for another life"
    assert planner.plan(prompt, at=899).read_tokens == 0, "301 seconds after the last use"


def test_a_changed_beginning_reads_nothing_behind_it():
    planner = PrefixPlanner(FIVE)
    planner.plan([("tools", 1000), ("system", 1000), ("a", 100)], at=0)
    assert planner.plan([("tools", 1000), ("system", 1000), ("b", 100)], at=1).read_tokens == 2000
    assert planner.plan([("other tools", 1000), ("system", 1000), ("b", 100)], at=2).read_tokens == 0


def test_what_never_comes_back_is_soon_not_written():
    for terms in ALL:
        paid, everything = share_paid(unrelated(1500), PrefixPlanner(terms), terms)
        assert everything == pytest.approx(terms.write)
        assert paid <= 1.035, "at most the credit is lost until it is learned"


def test_questions_behind_a_shared_prompt_are_not_written():
    requests = [(float(number), (("system", 4000), (("question", number), 1500))) for number in range(1500)]
    planner = PrefixPlanner(FIVE)
    share_paid(requests, planner, FIVE)
    plan = planner.plan((("system", 4000), ("another question", 1500)), at=1501.0)
    assert plan.marked_tokens == 4000
    assert "not expected to come back" in plan.reason


def test_conversations_are_written_to_their_end():
    requests = [request for number in range(60) for request in conversation(number, 12, start=number * 1000.0)]
    paid, everything = share_paid(requests, PrefixPlanner(FIVE), FIVE)
    assert paid == pytest.approx(everything, abs=0.01)
    assert paid < 0.3


def test_the_last_block_is_left_out_where_it_is_never_sent_again():
    rng = random.Random(3)
    requests = []
    for number in range(400):
        blocks = [("system", 512)]
        for turn in range(6):
            blocks = [*blocks, *(((number, turn, index), 512) for index in range(4))]
            requests.append((number * 40.0 + turn * 20, (*blocks, ((number, turn, "rest"), rng.randint(1, 511)))))
    requests.sort()
    planner = PrefixPlanner(FIVE)
    paid, everything = share_paid(requests, planner, FIVE)
    assert paid < everything
    last = requests[-1][1]
    plan = planner.plan((*last[:-1], ("fresh", 300), ("rest", 100)), at=requests[-1][0] + 1)
    assert plan.marked_tokens < plan.total_tokens


def test_a_change_of_traffic_is_noticed():
    first = unrelated(1200)
    then = [request for number in range(120) for request in conversation(number, 12, start=2000 + number * 200.0)]
    planner = PrefixPlanner(FIVE)
    share_paid(first, planner, FIVE)
    share_paid(then[: len(then) // 2], planner, FIVE)
    ours, all_ = share_paid(then[len(then) // 2 :], planner, FIVE)
    assert ours <= all_ + 0.01


def test_the_life_is_chosen_among_terms():
    slow = [
        (number * 1000.0 + 0.1 * part, ((("document", part), 5000), ((number, part), 300))) for number in range(200) for part in range(3)
    ]
    planner = PrefixPlanner([FIVE, HOUR])
    paid, _ = share_paid(slow, planner, HOUR)
    single = min(share_paid(slow, PrefixPlanner(terms), terms)[0] for terms in (FIVE, HOUR))
    assert paid <= single + 0.01
    assert paid < 0.5, "only the hour bridges pauses of 1,000 seconds"


def test_terms_that_others_are_better_than_are_not_considered():
    assert PrefixPlanner([FIVE, HALF_HOUR, HOUR]).terms == (HALF_HOUR, HOUR)
    assert PrefixPlanner([FIVE, FIVE]).terms == (FIVE,)


def test_a_call_site_is_learned_by_itself():
    planner = PrefixPlanner(HOUR)
    for number in range(600):
        at = number * 30.0
        for part in range(4):
            planner.plan(
                [(("chat", number), 4000), *((("chat", number, index), 200) for index in range(part + 1))], at=at + part, call_site="chat"
            )
        planner.plan([(("job", number), 4000), (("job", number, 1), 200)], at=at + 5, call_site="job")
    at = 600 * 30.0
    assert planner.plan([("new job", 4000), ("job text", 200)], at=at + 1, call_site="job").marked_tokens == 0
    assert planner.plan([("new chat", 4000), ("chat text", 200)], at=at + 2, call_site="chat").marked_tokens >= 4000


def test_a_plan_is_explained_in_dollars():
    planner = PrefixPlanner(FIVE, input_usd_per_million=3)
    prompt = [("system", 100_000)]
    assert planner.plan(prompt, at=0).expected_saving_usd is not None
    plan = planner.plan(prompt, at=1)
    assert plan.expected_saving == pytest.approx(90_000)
    assert plan.expected_saving_usd == Decimal("0.27")  # nine tenths of 100,000 tokens at $3 a million
    assert plan.reason == "100,000 tokens are kept and will be read; expected saving $0.2700"
    assert PrefixPlanner(FIVE).plan(prompt, at=0).expected_saving_usd is None


def test_a_prompt_below_the_minimum_is_not_marked():
    planner = PrefixPlanner(CacheTerms(min_tokens=1024))
    for at in range(5):
        plan = planner.plan([("system", 600), ("question", 300)], at=at)
        assert (plan.marked_tokens, plan.marks, plan.terms, plan.expected_saving) == (0, (), None, 0)
        assert plan.reason == "below 1,024 tokens the provider keeps nothing"


def test_marks_are_at_most_as_many_as_the_terms_allow():
    planner = PrefixPlanner(FIVE)
    for at in range(40):
        prompt = [
            ("tools", 800),
            (("system", at % 2), 800),
            (("customer", at % 4), 800),
            (("case", at % 8), 800),
            (("step", at % 16), 800),
            (at, 99),
        ]
        plan = planner.plan(prompt, at=float(at))
        assert len(plan.marks) <= 4
        assert list(plan.marks) == sorted(set(plan.marks))
        assert plan.marks[-1] == plan.marked_blocks
    assert PrefixPlanner(CacheTerms(max_marks=0, automatic=True, min_tokens=0)).plan(prompt, at=0).marks == ()


def test_where_writing_costs_nothing_all_is_marked():
    planner = PrefixPlanner(CacheTerms(write=1.0, read=0.5, min_tokens=0))
    for at, blocks in unrelated(300):
        assert planner.plan(blocks, at=at).marked_tokens == sum(tokens for _, tokens in blocks)


@pytest.mark.parametrize("back", [30.0, 5_000.0, 1e9])
def test_a_clock_that_jumps_back_loses_no_prefix_and_keeps_none_for_ever(back):
    planner = PrefixPlanner(FIVE)
    prompt = [("system", 2000)]
    planner.plan(prompt, at=1e9)
    assert planner.plan(prompt, at=1e9 - back).read_tokens == 2000
    assert planner.plan(prompt, at=1e9 - back + 100 + 60).read_tokens == 2000
    assert planner.plan(prompt, at=1e9 - back + 100 + 60 + 400).read_tokens == 0


@pytest.mark.parametrize(
    ("blocks", "at", "message"),
    [
        ([("a", -1)], 0, "whole number"),
        ([("a", 1.5)], 0, "whole number"),
        ([("a", True)], 0, "whole number"),
        ([("a",)], 0, "whole number|pairs"),
        ([("a", 1, 2)], 0, "pairs"),
        (["text"], 0, "pairs"),
        ([([], 1)], 0, "pairs"),
        (None, 0, "pairs"),
        ([("a", 1)], float("nan"), "time in seconds"),
        ([("a", 1)], "now", "time in seconds"),
        ([("a", 1)], True, "time in seconds"),
    ],
)
def test_what_is_no_request_is_refused_with_its_values(blocks, at, message):
    with pytest.raises(ConfigurationError, match=message):
        PrefixPlanner(FIVE).plan(blocks, at=at)


@pytest.mark.parametrize("terms", [None, [], "claude", [FIVE, None], 5])
def test_without_terms_there_is_no_planner(terms):
    with pytest.raises(ConfigurationError, match="CacheTerms"):
        PrefixPlanner(terms)


def test_an_empty_prompt_and_a_very_long_one():
    planner = PrefixPlanner(FIVE)
    assert planner.plan([], at=0).marked_tokens == 0
    long = [(index, 128) for index in range(1600)]  # 204,800 tokens
    planner.plan(long, at=1)
    assert planner.plan([*long, ("more", 128)], at=2).read_tokens in (0, 204_800)


def test_memory_is_bounded():
    planner = PrefixPlanner(FIVE, max_blocks=2_000)
    for at, blocks in unrelated(2_000):
        planner.plan([("system", 1000), *blocks], at=at)
    assert planner.known_blocks <= 2_000 + 40
    assert planner.plan([("system", 1000)], at=2_000).read_tokens == 1000, "what is used stays"


def test_a_provider_that_reads_nothing_is_noticed():
    planner = PrefixPlanner(FIVE)
    plans = []
    for number in range(200):
        for at, blocks in conversation(number, 6, start=number * 700.0):
            plan = planner.plan(blocks, at=at)
            planner.observe(plan, Usage(plan.total_tokens, 10, cache_write_tokens=plan.marked_tokens))
            plans.append(plan)
    assert plans[5].marked_tokens > 0
    assert planner.trust.share < 0.3
    assert any("should have been read" in finding for finding in planner.trust.findings())
    assert plans[-1].marked_tokens == 0
    assert "as far as the provider has billed them" in plans[-1].reason


def test_a_provider_that_ignores_marks_is_noticed():
    planner = PrefixPlanner(FIVE)
    for number in range(20):
        for at, blocks in conversation(number, 6, start=number * 700.0):
            plan = planner.plan(blocks, at=at)
            assert plan.read_tokens == 0, "what was not billed as written is not expected to be read"
            planner.observe(plan, Usage(plan.total_tokens, 10))
    assert any("were billed as written" in finding for finding in planner.trust.findings())
    assert planner.balance_tokens == pytest.approx(0)


def test_a_provider_that_keeps_longer_is_noticed():
    planner = PrefixPlanner(FIVE)
    prompt = [("system", 50_000)]
    plan = planner.plan(prompt, at=0)
    planner.observe(plan, Usage(50_000, 1, cache_write_tokens=50_000))
    plan = planner.plan(prompt, at=900)
    planner.observe(plan, Usage(50_000, 1, cache_read_tokens=50_000))
    assert any("keeps prefixes longer" in finding for finding in planner.trust.findings())


def test_a_provider_that_bills_as_planned_is_trusted():
    planner, provider = PrefixPlanner(FIVE), Provider()
    for number in range(30):
        for at, blocks in conversation(number, 6, start=number * 700.0):
            plan = planner.plan(blocks, at=at)
            _, read, written = provider.bill(blocks, at, plan.marked_tokens, plan.terms or FIVE)
            assert (read, written) == (plan.read_tokens, plan.written_tokens)
            planner.observe(plan, Usage(plan.total_tokens, 10, cache_read_tokens=read, cache_write_tokens=written))
    assert planner.trust.share == 1.0
    assert planner.trust.findings() == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.lists(st.integers(0, 3), max_size=6), st.integers(0, 400)), max_size=40))
def test_what_a_plan_expects_is_what_such_a_provider_bills(requests):
    planner, provider, at = PrefixPlanner(FIVE), Provider(), 0.0
    for ids, pause in requests:
        at += pause
        blocks = [(block, 1000 + block) for block in ids]
        plan = planner.plan(blocks, at=at)
        _, read, written = provider.bill(blocks, at, plan.marked_tokens, plan.terms or FIVE)
        assert (plan.read_tokens, plan.written_tokens) == (read, written)
        assert plan.marked_tokens == read + written
        assert plan.marked_tokens == sum(tokens for _, tokens in blocks[: plan.marked_blocks])
