"""The benchmarks still run: whatever they measure, they can carry out once."""

from pathlib import Path

from tests.benchmarks import core
from tests.benchmarks.report import Report


def test_each_message_goes_through_each_level_both_ways() -> None:
    columns = ["message", "direction", *(level.__name__ for level in core.LEVELS)]
    empty = {
        (str(row[0]), str(row[1]), columns[place])
        for row in core.measured(rounds=1, messages=1)
        for place, cell in enumerate(row[: len(columns)])
        if cell is None
    }
    assert empty == {
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
