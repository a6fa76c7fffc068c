"""The circuit of a server that does not answer, and the order in which threads get their turn."""

from __future__ import annotations

import threading
import time

import pytest

from llmthrift_core.storage.circuit import Circuit
from llmthrift_core.storage.faults import UnavailableError
from llmthrift_core.storage.turns import Turns

GONE = UnavailableError("connection refused")


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def circuit(clock: Seconds) -> Circuit:
    return Circuit("a server", answer_seconds=2.0, clock=clock)


def is_refused(circuit: Circuit) -> bool:
    try:
        circuit.enter()
    except UnavailableError:
        return True
    return False


def test_a_closed_circuit_lets_everybody_in(circuit: Circuit) -> None:
    assert not any(is_refused(circuit) for _ in range(3))


def test_after_a_failure_nobody_waits_again_and_the_reason_is_told(circuit: Circuit) -> None:
    circuit.failed(GONE)
    assert circuit.is_open
    with pytest.raises(UnavailableError, match=r"connection refused; it is tried again in 0\.5 s"):
        circuit.enter()


def test_one_attempt_finds_out_and_an_answer_closes_the_circuit(circuit: Circuit, clock: Seconds) -> None:
    circuit.failed(GONE)
    clock.now = 0.6
    assert [is_refused(circuit) for _ in range(3)] == [False, True, True]
    circuit.answered()
    assert [is_refused(circuit) for _ in range(3)] == [False, False, False]


def test_an_attempt_that_nobody_ends_is_followed_by_another(circuit: Circuit, clock: Seconds) -> None:
    circuit.failed(GONE)
    clock.now = 0.6
    assert [is_refused(circuit) for _ in range(2)] == [False, True]
    clock.now = 4.0
    assert [is_refused(circuit) for _ in range(2)] == [False, True]


def test_pauses_double_up_to_five_seconds_and_begin_anew_after_an_answer(circuit: Circuit, clock: Seconds) -> None:
    pauses = []
    for _ in range(6):
        circuit.failed(GONE)
        failed_at = clock.now
        while is_refused(circuit):
            clock.now += 0.25
        pauses.append(clock.now - failed_at)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    circuit.answered()
    circuit.failed(GONE)
    clock.now += 0.5
    assert not is_refused(circuit)


def test_who_waits_longest_is_next_and_a_newcomer_does_not_overtake() -> None:
    turns = Turns(1)
    assert turns.take(0)
    order: list[int] = []

    def wait(number: int) -> None:
        assert turns.take(20)
        order.append(number)
        turns.give_back()

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        while len(turns._waiting) <= number:
            time.sleep(0.001)
    turns.give_back()
    for thread in threads:
        thread.join(20)
    assert order == [0, 1, 2, 3, 4]
    assert turns.take(0)


def test_a_turn_that_does_not_come_is_told_and_leaves_no_trace() -> None:
    turns = Turns(1)
    assert turns.take(0)
    assert not turns.take(0.01)
    turns.give_back()
    assert turns.take(0)
