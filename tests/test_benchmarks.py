"""The benchmarks still run: whatever they measure, they can carry out once."""

from pathlib import Path

import pytest

from listenproto import Peer
from tests.benchmarks import calls, core, fairness, memory
from tests.benchmarks.report import Report

SENT_BY_APP = {case.name for case in core.CASES if case.sender is Peer.APP}
SENT_BY_PLATFORM = {case.name for case in core.CASES if case.sender is Peer.PLATFORM}


def test_each_message_goes_through_each_level_both_ways() -> None:
    columns = ["message", "direction", *(level.__name__ for level in core.LEVELS)]
    empty = {
        (str(row[0]), str(row[1]), columns[place])
        for row in core.measured(rounds=1, messages=1)
        for place, cell in enumerate(row[: len(columns)])
        if cell is None
    }
    received_by_platform = {(name, "platform receives", "call") for name in SENT_BY_APP}
    sent_by_platform = {(name, "platform sends", "call") for name in SENT_BY_PLATFORM}
    assert empty == received_by_platform | sent_by_platform | {
        # audio is no JSON
        ("audio, 20 ms", "platform sends", "bare_json"),
        ("audio, 20 ms", "platform receives", "bare_json"),
        ("audio, 20 ms", "app sends", "bare_json"),
        ("audio, 20 ms", "app receives", "bare_json"),
        # a connection sends it by itself when it opens
        ("metadata", "platform sends", "connection"),
    }


def test_a_report_shows_the_same_table_after_it_was_written_and_read(tmp_path: Path) -> None:
    report = Report.here("Title", ["what", "figure"], [["a", 1.234], ["b", None]], packages=["h11"])
    report.write(tmp_path / "report.json")
    assert str(Report.read(tmp_path / "report.json")) == str(report)
    assert str(report).splitlines()[2:6] == [
        "| what | figure |",
        "| ---- | -----: |",
        "| a    |   1.23 |",
        "| b    |        |",
    ]


def test_calls_are_placed_and_every_echo_of_a_server_comes_back() -> None:
    command = calls.own_command("listenproto-trio")
    load = calls.measure(command, calls=2, seconds=0.2, warm_up=0.1)
    assert (load.calls, load.sent, load.lost) == (2, 30, 0)
    assert load.echo_median is not None and load.echo_p99 is not None


def test_what_a_call_takes_of_memory_is_more_than_nothing() -> None:
    assert memory.measure("listenproto-trio", calls=100) > 0


def test_a_server_that_does_not_start_is_told_with_what_it_said() -> None:
    with pytest.raises(SystemExit, match=r"(?s)does not listen:.*no server of that name"):
        calls.measure(calls.own_command("nobody"), calls=1, seconds=0.1, warm_up=0.1)


@pytest.mark.parametrize("kind", ["nothing", "empty fragments"])
def test_a_good_call_is_heard_beside_a_flood(kind: str) -> None:
    heard = fairness.measure("listenproto-trio", kind, flooding=1, seconds=0.2)
    assert heard.share > 0


@pytest.mark.parametrize("guess", [1, 50, 3000])
@pytest.mark.parametrize("carried", [0, 1, 7, 50, 333, 2000])
def test_the_search_finds_how_many_calls_are_steady(carried: int, guess: int) -> None:
    found = calls.capacity(lambda number: number <= carried, guess)
    assert carried - max(1, calls.PRECISION * carried) <= found <= carried
