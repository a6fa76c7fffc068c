"""A file of lines that wait for a store: nothing is lost between processes that share it, and nothing is read by others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmthrift_core.storage.spool_file import SpoolFile
from tests.processes import FORK_SERVER


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows[1].jsonl"


def all_of(spool: SpoolFile, most: int = 100) -> list[dict[str, Any]]:
    return [value for batch in spool.batches(most) for value in batch]


def test_what_is_added_is_replayed_once_and_the_file_goes(path: Path) -> None:
    spool = SpoolFile(path)
    assert not spool.waits
    spool.add([{"a": 1}, {"a": "ä\ud800"}])
    spool.add([{"a": 3}])
    assert spool.waits
    assert path.stat().st_mode & 0o077 == 0
    assert [len(batch) for batch in spool.batches(2)] == [2, 1]
    assert not spool.waits
    assert list(path.parent.iterdir()) == []
    assert all_of(spool) == []


def test_what_was_not_taken_is_there_for_the_next_process(path: Path) -> None:
    spool = SpoolFile(path)
    spool.add([{"a": number} for number in range(5)])
    for _ in spool.batches(2):
        break  # the store does not take it
    spool.add([{"a": 5}])
    assert spool.waits
    following = SpoolFile(path)
    assert following.waits
    assert all_of(following) == [{"a": number} for number in range(6)]
    assert all_of(spool) == []  # somebody else was first
    assert not spool.waits


def test_files_of_other_spools_are_left_alone(path: Path) -> None:
    others = [path.with_name(f"{path.name}.settlements.7-1.replaying"), path.with_name("rows1.jsonl.7-1.replaying")]
    for other in others:
        other.write_text('{"a":1}\n')
    spool = SpoolFile(path)
    assert not spool.waits
    assert all_of(spool) == []
    assert all(other.exists() for other in others)


def test_a_line_that_was_cut_off_or_is_no_object_is_passed_over(path: Path) -> None:
    path.write_bytes(b'{"a":1}\n[2]\n\xff\xfe\n{"a":')
    spool = SpoolFile(path)
    spool.add([{"a": 4}])
    assert all_of(spool) == [{"a": 1}, {"a": 4}]


def test_an_error_of_the_file_system_is_told(tmp_path: Path) -> None:
    spool = SpoolFile(tmp_path / "nowhere" / "rows")
    with pytest.raises(OSError, match="nowhere"):
        spool.add([{}])


def _add(path: Path, who: int, count: int) -> None:
    spool = SpoolFile(path)
    for number in range(count):
        spool.add([{"who": who, "number": number}])


def test_processes_add_while_another_replays_and_nothing_is_lost(path: Path) -> None:
    processes = [FORK_SERVER.Process(target=_add, args=(path, who, 150)) for who in range(2)]
    for process in processes:
        process.start()
    spool = SpoolFile(path)
    found: list[dict[str, Any]] = []
    while any(process.is_alive() for process in processes):
        found += all_of(spool)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    found += all_of(spool)
    assert sorted((value["who"], value["number"]) for value in found) == [(who, number) for who in range(2) for number in range(150)]
