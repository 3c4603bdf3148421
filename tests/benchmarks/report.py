"""Results of a benchmark: as JSON, and as a table. python -m tests.benchmarks.report FILE…

The files are those that the benchmarks write with ``--json``.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, TypeAlias

import attrs

__all__ = ["Cell", "Report"]

Cell: TypeAlias = str | float | None

NOTHING: Final = ""
"""What a table shows where there is no figure."""


@attrs.frozen
class Report:
    """A table with a title, and what it was measured with."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    measured: dict[str, str]
    """What was run, on what, with which versions."""

    @classmethod
    def here(
        cls,
        title: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        *,
        packages: Sequence[str],
        **measured: str,
    ) -> Report:
        """What was measured on this machine, with these packages."""
        return cls(title, columns, rows, measured | _machine() | _versions(packages))

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(attrs.asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read what :meth:`write` wrote."""
        return cls(**json.loads(path.read_text()))

    def __str__(self) -> str:
        """The table in Markdown, readable as it is."""
        cells = [[*self.columns], *([_shown(cell) for cell in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        left = [isinstance(cell, str) for cell in self.rows[0]]
        rule = [
            "-" * width if is_left else "-" * (width - 1) + ":"
            for width, is_left in zip(widths, left, strict=True)
        ]
        lines = [
            "| "
            + " | ".join(
                cell.ljust(width) if is_left else cell.rjust(width)
                for cell, width, is_left in zip(row, widths, left, strict=True)
            )
            + " |"
            for row in (cells[0], rule, *cells[1:])
        ]
        measured = ", ".join(f"{name} {said}" for name, said in self.measured.items())
        return "\n".join([f"**{self.title}**", "", *lines, "", measured])


def _shown(cell: Cell) -> str:
    if cell is None:
        return NOTHING
    if isinstance(cell, str):
        return cell
    return f"{cell:.0f}" if float(cell).is_integer() or cell >= 100 else f"{cell:.2f}"


def _machine() -> dict[str, str]:
    model = platform.processor()
    with Path("/proc/cpuinfo").open() as lines:
        for line in lines:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {"cpu": f"{model} x {os.cpu_count()}", "python": platform.python_version()}


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    """Show the reports in the files named on the command line."""
    for name in sys.argv[1:]:
        print(Report.read(Path(name)), end="\n\n")


if __name__ == "__main__":
    main()
