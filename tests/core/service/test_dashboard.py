from __future__ import annotations

import asyncio
import re
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import uvicorn
from fastapi.testclient import TestClient

from llmthrift_core import Budget, Thrift, Usage
from llmthrift_core.attribution import attribution_of
from llmthrift_core.ledger import CallRecord
from llmthrift_core.reports import found_calls
from llmthrift_core.reports.found_calls import find_calls
from llmthrift_core.service import create_dashboard
from llmthrift_core.service.dashboard.events import KEPT_SECONDS, KeptPages, events
from llmthrift_core.service.dashboard.routes import PAGES
from llmthrift_core.service.dashboard.view import Page
from tests.core.service.browser import axe_source, browsed
from tests.core.service.conftest import app_of

EVIL = "<script>alert('x')</script>\"'"
PATHS = ["/", *(f"/dashboard/{name}" for name in PAGES)]


def fill(thrift):
    now = datetime.fromtimestamp(thrift.now(), UTC)
    ids = []
    for number in range(12):
        at = now - timedelta(hours=7 * number)
        who = {"user": EVIL, "feature": EVIL, "run": EVIL, "tags": {"team": EVIL}}
        ids.append(thrift.ledger.record("gpt-4o", Usage(input_tokens=1_000, output_tokens=100), at=at, latency_seconds=1.5, **who))
    thrift.ledger.record(f"unknown-{EVIL}", Usage(input_tokens=10, output_tokens=5), error=EVIL)
    thrift.budgets.add(Budget(limit_usd=1, window="day", name=EVIL))
    thrift.flush()
    return ids


@pytest.fixture
def client(thrift):
    with TestClient(create_dashboard(thrift)) as client:
        yield client


def check(answer):
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert " style=" not in answer.text  # the policy would ignore it
    assert not re.search(r"<th[^>]*></th>", answer.text)  # a heading that nobody hears
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.findall(r"(?:src|href|action)=\"(?:https?:)?//", answer.text)


@pytest.mark.parametrize("path", PATHS)
def test_every_page_of_an_empty_ledger(client, path):
    check(client.get(path))


def test_every_page_of_a_filled_ledger_escapes_names(client, thrift):
    ids = fill(thrift)
    more = ["/dashboard/explorer?by=team", "/dashboard/explorer?by=day", "/dashboard/explorer?by=<b>"]
    for path in [*PATHS, *more]:
        check(client.get(path))
    check(client.get("/dashboard/runs", params={"run": EVIL}))
    for by in ("feature", "team", "run"):
        found = client.get("/dashboard/calls", params={"by": by, "value": EVIL})
        check(found)
        assert found.text.count("/dashboard/call?id=") == 12
    call = client.get("/dashboard/call", params={"id": ids[0]})
    check(call)
    # 1,000 x $2.50 and 100 x $10 a million.
    assert "$0.003500" in call.text


def test_the_sum_of_the_groups_is_the_ledgers(client, thrift):
    fill(thrift)
    assert "$0.04200" in client.get("/dashboard/explorer?by=feature").text  # 12 x $0.0035


def test_a_key_opens_it_by_a_cookie_that_scripts_cannot_read(thrift):
    keys = {"reads": {"scopes": ["read"]}, "calls": {"scopes": ["call"]}}
    with TestClient(create_dashboard(thrift, api_keys=keys)) as client:
        assert client.get("/", follow_redirects=False).headers["location"] == "/dashboard/login"
        assert client.get("/dashboard/events").status_code == 401
        assert client.post("/dashboard/login", data={"key": "calls"}).status_code == 401
        elsewhere = client.post("/dashboard/login", data={"key": "reads"}, headers={"Sec-Fetch-Site": "cross-site"})
        assert elsewhere.status_code == 403
        answer = client.post("/dashboard/login", data={"key": "reads"}, follow_redirects=False)
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        check(client.get("/dashboard/budgets"))
        client.post("/dashboard/logout")
        assert client.get("/", follow_redirects=False).status_code == 303


def test_another_name_of_this_machine_is_refused(thrift):
    with TestClient(create_dashboard(thrift, hosts=["127.0.0.1"])) as client:
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_a_stream_tells_that_a_call_was_recorded(thrift):
    fill(thrift)
    looks = 0

    async def sleep(seconds):
        nonlocal looks
        looks += 1
        if looks == 2:
            thrift.ledger.record("gpt-4o", Usage(input_tokens=1, output_tokens=1))

    async def stream():
        return [part async for part in events(thrift, "budgets", sleep=sleep, every=1, seconds=3)]

    assert [b"changed" in part for part in asyncio.run(stream())] == [False, False, True, False]


@contextmanager
def running(app):
    """The address of an application."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until = time.monotonic() + 20
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.loopback
def test_every_page_in_a_real_browser(thrift):
    ids = fill(thrift)
    axe = axe_source()
    wrong = []
    with running(create_dashboard(thrift)) as address, browsed() as tab:
        for dark, width in ((False, 1440), (True, 1440), (False, 390), (True, 390)):
            tab.look(dark=dark, width=width)
            for path in [*PATHS[1:], "/dashboard/login", f"/dashboard/call?id={ids[0]}", "/dashboard/calls?by=model&value=gpt-4o"]:
                tab.open(address + path)
                tab.run(axe)
                looked, found = tab.run(
                    "axe.run().then(found => [found.passes.length, found.violations.map(it => [it.id, it.nodes.map(node => node.html)])])"
                )
                assert looked > 5  # rules that had something to look at
                wrong += [(path, "dark" if dark else "light", width, *each) for each in found]
                if width == 390 and (wide := tab.run("document.documentElement.scrollWidth")) > width:
                    wrong.append((path, f"the page is {wide} wide"))
    assert wrong == []
    assert tab.complaints == []
    assert {each.split("/dashboard")[0].rstrip("/") for each in tab.asked if not each.startswith("data:")} == {address}


@pytest.mark.loopback
def test_budgets_are_edited_by_admins_of_the_service(thrift, provider):
    keys = {"reads": {"scopes": ["read"]}, "rules": {"scopes": ["read", "admin"]}}
    own = {"Sec-Fetch-Site": "same-origin"}
    added = {"do": "add", "name": EVIL, "limit_usd": "2.50", "window": "day", "per": "user", "on_exceed": "block"}
    with TestClient(app_of(thrift, provider, api_keys=keys), follow_redirects=False) as client:

        def send(key, data, headers=own):
            return client.post("/dashboard/budgets", data=data, headers={"Authorization": f"Bearer {key}", **headers}).status_code

        assert "Add a budget" not in client.get("/dashboard/budgets", headers={"Authorization": "Bearer reads"}).text
        assert send("reads", added) == 403
        assert send("rules", added, {"Sec-Fetch-Site": "cross-site"}) == 403
        assert send("rules", added, {"Origin": "https://evil.example"}) == 403
        assert send("rules", added, {}) == 403
        assert thrift.budgets.all() == ()
        assert send("rules", added) == 303
        assert [(budget.name, budget.limit_usd, budget.per) for budget in thrift.budgets.all()] == [(EVIL, Decimal("2.5"), ("user",))]
        page = client.get("/dashboard/budgets", headers={"Authorization": "Bearer rules"})
        check(page)
        assert "Change a limit" in page.text
        assert send("rules", added) == 400  # there is one
        assert send("rules", {"do": "change", "name": EVIL, "limit": "-1"}) == 400
        assert send("rules", {"do": "change", "name": EVIL, "limit": "7"}) == 303
        assert thrift.budgets.all()[0].limit_usd == 7
        assert thrift.budgets.all()[0].per == ("user",)
        assert send("rules", {"do": "remove", "name": "another"}) == 400
        assert send("rules", {"do": "remove", "name": EVIL}) == 303
        assert thrift.budgets.all() == ()


@pytest.mark.loopback
def test_without_keys_only_this_machine_edits(thrift, provider):
    added = {"do": "add", "limit_usd": "1", "window": "day", "on_exceed": "warn"}
    own = {"Sec-Fetch-Site": "same-origin"}
    with TestClient(app_of(thrift, provider), follow_redirects=False) as client:
        assert client.post("/dashboard/budgets", data=added, headers={**own, "Host": "evil.example"}).status_code == 403
        assert client.post("/dashboard/budgets", data=added, headers={**own, "Host": "127.0.0.1:8484"}).status_code == 303
    with TestClient(create_dashboard(thrift), follow_redirects=False) as client:
        assert client.post("/dashboard/budgets", data=added, headers={**own, "Host": "127.0.0.1"}).status_code == 403


def test_prompts_by_call_site(client, thrift):
    for number in range(3):
        record = CallRecord(request_id=f"p{number}", call_id=f"p{number}", at_us=thrift.now_us(), model="gpt-4o")
        record.attribution = attribution_of(call_site=EVIL)
        record.input_tokens, record.prompt_chars, record.system_chars = 1_000, 4_000, 3_000
        record.cost_nano_usd = record.input_cost_nano_usd = 2_500_000
        thrift.ledger.append(record)
    page = client.get("/dashboard/prompts")
    check(page)
    # 3 calls of $0.0025 in a day are 90 a month; three quarters of their characters are the system prompt's.
    assert "$0.2250" in page.text
    assert "75" in page.text
    assert "(unknown)" not in page.text


def test_plans_say_what_the_command_line_says(client, thrift):
    fill(thrift)
    empty = client.get("/dashboard/plans?days=all")
    check(empty)
    # 12 calls of $0.0035; own GPUs as of two at $3.50, 800 requests an hour, 720 hours a month: $5,040 a month, 576,000 requests.
    for text in ("$0.003500", "576,000", "$5,040.00", "$0.008750"):
        assert text in empty.text
    # 12 x (1,000 x $2.50 + 2 x 100 x $10) a million; 12 x (1,000 x $0.15 + 100 x $0.60) a million.
    for asked, costs in (({"output": "2"}, "$0.05400"), ({"old": "gpt-4o", "new": "gpt-4o-mini"}, "$0.002520")):
        changed = client.get("/dashboard/plans", params={"days": "all", **asked})
        check(changed)
        assert costs in changed.text
    back = client.get("/dashboard/plans", params={"value": "1000", "other": "99.958", "setup": "1350", "setup_months": "1"})
    check(back)
    # $100 a month against $1,000: 900%; $1,350 is paid back by $900 a month 1.5 months after the set-up's one.
    assert "900%" in back.text
    assert "2.5 months" in back.text
    # 2,000 tokens x 100,000 requests at gpt-4o's $2.50 a million; 20 turns of 500 and 2,000 fixed send 145,000 tokens.
    context = client.get("/dashboard/plans", params={"context_model": "gpt-4o", "tokens": "2000", "requests": "100000"})
    check(context)
    assert all(text in context.text for text in ("200,000,000", "$500.00", "$15,000.00"))
    asked = {"context_model": "gpt-4o", "tokens": "2000", "requests": "1000", "turns": "20", "turn_tokens": "500"}
    assert all(text in client.get("/dashboard/plans", params=asked).text for text in ("145,000", "$10,875.00"))
    asked = {"design": "yes", "budget": "30000", "price": "0.01", "features": "chat=50, search=30, other=20"}
    designed = client.get("/dashboard/plans", params={**asked, "groups": "free=400x2000000, pro=80x10000000, team=20x20000000"})
    check(designed)
    assert all(text in designed.text for text in ("3,000,000,000", "$15,000.00", "20 times the 3,000,000,000"))
    mistaken = ({"design": "yes", "budget": EVIL}, {"design": "yes", "budget": "1", "price": "1", "groups": EVIL}, {"tokens": EVIL})
    for wrong in ({"gpu_hour": EVIL}, {"value": EVIL}, {"output": EVIL}, {"api_model": EVIL}, {"gpus": "0"}, *mistaken):
        refused = client.get("/dashboard/plans", params=wrong)
        check(refused)
        assert "This cannot be told" in refused.text


def test_a_page_is_kept_until_a_call_is_recorded_or_ten_seconds_pass(tmp_path):
    made, now = [], [time.time()]
    thrift = Thrift(tmp_path / "calls.db", clock=lambda: now[0])

    def make(thrift, query):
        made.append(dict(query))
        return Page(str(len(made)), "")

    kept = KeptPages(thrift)
    assert [kept.page("spend", make, {"days": days}).title for days in ("7", "7", "30", "7")] == ["1", "1", "2", "1"]
    thrift.ledger.record("gpt-4o", Usage(input_tokens=1, output_tokens=1))
    assert kept.page("spend", make, {"days": "7"}).title == "3"
    assert [kept.page("budgets", make, {}).title for _ in range(2)] == ["4", "5"]  # holds change without a row
    now[0] += KEPT_SECONDS
    assert kept.page("spend", make, {"days": "7"}).title == "6"
    thrift.close()


@pytest.mark.parametrize("by", ["user", "team", "call_site", "run"])
def test_calls_of_a_value_are_found_among_many(thrift, monkeypatch, by):
    monkeypatch.setattr(found_calls, "LOOKED_AT", 20)
    monkeypatch.setattr(found_calls, "COSTLY_LOOKED_AT", 3)
    now = datetime.fromtimestamp(thrift.now(), UTC)

    def record(value, hours, tokens):
        who = {"tags": {"team": value}} if by == "team" else {by: value}
        at = now - timedelta(hours=hours)
        return thrift.ledger.record("gpt-4o", Usage(input_tokens=tokens, output_tokens=1), at=at, **who)

    dear = record("rare", 90 * 24, 40_000)  # ten cents, and by far the oldest
    old = [record("rare", 80 * 24 + number, 100) for number in range(3)]
    for number in range(60):
        record("common", number / 10, 1_000)
    thrift.flush()

    def found(order, value="rare"):
        rows, is_whole = find_calls(thrift.database, by=by, value=value, since_us=None, order=order, limit=50)
        return [row["request_id"] for row in rows], is_whole

    assert found("newest")[0] == [*old, dear]
    assert found("cost")[0] == [dear, *sorted(old, key=lambda each: found("newest")[0].index(each), reverse=True)]
    common, is_whole = found("cost", "common")
    assert (len(common), is_whole) == (20, False)
    rows, _ = find_calls(thrift.database, by="", value=None, since_us=None, order="cost", limit=1)
    assert rows[0]["request_id"] == dear


@pytest.mark.loopback
def test_a_reader_clicks_through_every_page(thrift, provider):
    ids = fill(thrift)
    keys = {"reads": {"scopes": ["read", "admin"]}}
    with running(app_of(thrift, provider, api_keys=keys)) as address, browsed() as tab:
        tab.look(dark=False, width=1440)
        tab.open(address)
        assert tab.run("location.pathname") == "/dashboard/login"
        tab.run("document.getElementById('key').value = 'wrong'")
        tab.click("form button")
        assert "may not read" in tab.run("document.querySelector('[role=alert]').textContent")
        tab.complaints.clear()  # of the answer 401, which is what it should be
        tab.run("document.getElementById('key').value = 'reads'")
        tab.click("form button")
        titles = []
        for place in range(tab.run("document.querySelectorAll('.top li a').length")):
            tab.click(f".top li:nth-child({place + 1}) a")
            titles.append(tab.run("document.querySelector('h1').textContent"))
            periods = tab.run("document.querySelectorAll('[aria-label=Period] a').length")
            for number in range(periods):
                tab.click(f"[aria-label=Period] a:nth-of-type({number + 1})")
                assert tab.run(f"document.querySelectorAll('[aria-label=Period] a')[{number}].ariaCurrent") == "true"
                assert tab.run("document.querySelector('h1').textContent") == titles[-1]
        assert len(set(titles)) == len(titles) == len(PAGES) - 2  # a list of calls and a call are reached from the others
        tab.open(f"{address}/dashboard/explorer?by=feature")
        tab.click("tbody th a")
        assert tab.run("document.querySelectorAll('tbody tr').length") == 12
        tab.click("tbody td a")
        assert tab.run("new URLSearchParams(location.search).get('id')") in ids
        tab.click("td a[href*='/dashboard/runs']")
        assert tab.run("document.querySelector('h1').textContent").startswith("Run ")
        assert "Cost tree" in tab.run("document.getElementById('main').textContent")
        tab.click("tbody th a")
        assert tab.run("location.pathname") == "/dashboard/call"
        tab.open(f"{address}/dashboard/budgets")
        tab.fill("[name=do][value=add]", name="a day", limit_usd="2.50")
        assert "a day" in tab.run("document.querySelector('tbody').textContent")
        assert {budget.name for budget in thrift.budgets.all()} == {EVIL, "a day"}
        tab.fill("[name=do][value=change]", name="a day", limit="7")
        assert {budget.limit_usd for budget in thrift.budgets.all()} == {1, 7}
        tab.fill("[name=do][value=remove]", name="a day")
        assert [budget.name for budget in thrift.budgets.all()] == [EVIL]
        tab.click(".session button")
        assert tab.run("location.pathname") == "/dashboard/login"
    assert tab.complaints == []
    assert {each.split("/dashboard")[0].rstrip("/") for each in tab.asked if not each.startswith("data:")} == {address}
