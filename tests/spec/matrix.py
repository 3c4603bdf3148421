"""Prints how each requirement of the spec is proven: ``python -m tests.spec.matrix``.

Each row says how many vectors keep the requirement, how many break it, how many of those the
observer misses without its rule, and which test proves it if no vector can. The exit status is 1 if
a row is empty.
"""

from __future__ import annotations

import sys
from typing import Final

import attrs

from tests.spec import Requirement, held_by_tests, requirements, vectors
from tests.spec.runner import judged, run

OBSERVED: Final = ("conversation", "upgrade")
"""The kinds of vector that the observer judges."""


@attrs.define
class Row:
    """How one requirement is proven."""

    requirement: Requirement
    keeping: list[str] = attrs.Factory(list)
    breaking: list[str] = attrs.Factory(list)
    missed: list[str] = attrs.Factory(list)
    """Breaking vectors that tell of the breach only while the observer has this rule."""
    test: str | None = None

    @property
    def proven(self) -> bool:
        """Whether anything holds it, and what breaks it is seen by its own rule alone."""
        if self.breaking:
            return bool(self.keeping) and bool(self.missed)
        return bool(self.keeping) or self.test is not None


def matrix(*, tested: bool = False) -> dict[str, Row]:
    """A row for each requirement, in the order of the spec.

    Nothing is run where it is ``tested`` already that each vector holds and that each breach which
    the observer judges is missed without its rule.
    """
    tests = held_by_tests()
    rows = {
        name: Row(requirement, test=tests.get(name)) for name, requirement in requirements().items()
    }
    for vector in vectors():
        row = rows.get(vector["requirement"])
        if row is None or not (tested or run(vector) == []):
            continue
        (row.breaking if vector["breaks"] else row.keeping).append(vector["name"])
        if (
            vector["breaks"]
            and vector["kind"] in OBSERVED
            and (tested or judged(vector, without={vector["requirement"]}))
        ):
            row.missed.append(vector["name"])
    return rows


def main() -> int:
    rows = matrix().values()
    print(f"{'requirement':12} {'kept':>4} {'broken':>6} {'by its rule':>11}  test")
    for row in rows:
        seen = f"{len(row.missed)}" if row.breaking else ""
        test = row.test or ("" if row.proven else "NOT PROVEN")
        counts = f"{len(row.keeping):4} {len(row.breaking) or '':>6} {seen:>11}"
        print(f"{row.requirement.name:12} {counts}  {test}".rstrip())
    unproven = [row.requirement.name for row in rows if not row.proven]
    print(f"{len(rows)} requirements, {len(unproven)} not proven {' '.join(unproven)}".rstrip())
    return 1 if unproven else 0


if __name__ == "__main__":
    sys.exit(main())
