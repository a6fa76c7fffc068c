from __future__ import annotations

import os
import threading

from llmthrift_core.ledger import ids


def test_ids_are_distinct_sorted_by_age_and_32_hexadecimal_digits() -> None:
    made = [ids.new_request_id() for _ in range(10_000)]
    assert len(set(made)) == 10_000
    assert made == sorted(made)
    assert {len(name) for name in made} == {32}
    assert int(made[0], 16) > 0


def test_threads_share_the_count() -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.extend(ids.new_request_id() for _ in range(5_000))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 40_000


def test_a_child_does_not_repeat_its_parents_ids() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, ids.new_request_id().encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    theirs = os.read(reading, 100).decode()
    os.close(reading)
    ours = ids.new_request_id()
    assert len(theirs) == 32
    assert theirs[:22] != ours[:22]
