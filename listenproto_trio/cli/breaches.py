"""The breaches of a call, counted: a peer may repeat the same one thousands of times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from listenproto._messages import JSON, Peer
from listenproto._violation import Violation

__all__ = ["Breaches"]

MOST: Final = 20
"""How many different breaches are listed; the others are only counted."""


class Breaches:
    """The breaches of one call, equal ones counted together."""

    def __init__(self) -> None:
        self.total = 0
        self._times: Counter[tuple[Peer, str, str]] = Counter()

    def add(self, breach: Violation) -> bool:
        """Count one; returns whether it is the first of its kind."""
        self.total += 1
        kind = (breach.sender, breach.clause, breach.reason)
        if kind not in self._times and len(self._times) == MOST:
            return False
        self._times[kind] += 1
        return self._times[kind] == 1

    def lines(self, remedies: Mapping[str, str]) -> list[str]:
        """One line for each kind, and one for those that are only counted.

        ``remedies`` says what helps, by clause.
        """
        lines = [
            f"the {sender.value} broke {clause}: {reason}"
            + (f" ({n} times)" if n > 1 else "")
            + (f"; {remedies[clause]}" if clause in remedies else "")
            for (sender, clause, reason), n in self._times.items()
        ]
        if others := self.total - self._times.total():
            lines.append(f"{others} more breaches, of kinds that are not listed")
        return lines

    def to_json(self) -> list[JSON]:
        """Each kind, as JSON."""
        return [
            {"sender": sender.value, "clause": clause, "reason": reason, "times": n}
            for (sender, clause, reason), n in self._times.items()
        ]
