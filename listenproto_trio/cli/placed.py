"""The outcome of a call that ``listenproto call`` placed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs

from listenproto._heard import Heard
from listenproto._l16 import FLICKS
from listenproto._listen_result import ListenEnd, ListenResult
from listenproto._messages import JSON, Peer
from listenproto._statistics import Statistics
from listenproto._task import ListenTask
from listenproto._violation import Violation
from listenproto_trio._client import AppMessage, PlatformCall
from listenproto_trio.cli.breaches import Breaches
from listenproto_trio.cli.closes import GOOD_CLOSES
from listenproto_trio.cli.hook import Hooked

__all__ = ["COLUMNS", "Placed"]

COLUMNS: Final = (
    "call",
    "ended by",
    "said (s)",
    "heard (s)",
    "gaps",
    "clips",
    "marks",
    "late (s)",
    "breaches",
)


@attrs.define(kw_only=True)
class Placed:
    """One call: what came, how it ended, and what was wrong."""

    number: int
    prefix: str
    task: ListenTask
    call: PlatformCall | None = None
    """None if there was no connection."""
    hooked: Hooked | None = None
    came: Counter[str] = attrs.field(factory=Counter)
    """How many messages of each kind the app sent."""
    heard: int = 0
    """Flicks of audio that the caller heard."""
    breaches: Breaches = attrs.field(factory=Breaches)
    notes: list[str] = attrs.field(factory=list)
    """What went wrong with messages of the app that break nothing, each once."""
    files: list[Path] = attrs.field(factory=list)
    """The files that were written."""
    failures: list[str] = attrs.field(factory=list)
    give_up: Callable[[], None] = lambda: None
    """Hang up, or stop dialing, or stop waiting for the actionHook."""

    def take(self, message: AppMessage) -> None:
        """The app has sent this."""
        if isinstance(message, Violation):
            self.breaches.add(message)
        else:
            self.came[type(message).__name__] += 1
            note = self.task.session.observer.caution(Peer.APP, message)
            if note is not None and note not in self.notes:
                self.notes.append(note)

    def hear(self, heard: list[Heard]) -> None:
        """The caller has heard this."""
        self.heard += sum(piece.end - piece.start for piece in heard)

    @property
    def result(self) -> ListenResult | None:
        """How the listen ended."""
        return self.task.result

    @property
    def statistics(self) -> Statistics:
        """What passed."""
        return self.call.statistics if self.call else Statistics()

    @property
    def said(self) -> float:
        """Seconds of audio that the caller said."""
        return self.task.clock / self.task.verb.sample_rate

    @property
    def end(self) -> str:
        """How it ended, in a word or two; short, so that the table has at most 80 columns."""
        if self.result is None:
            return "failed"
        digits = f" {self.result.digits}" if self.result.digits else ""
        lost = self.result.end is ListenEnd.LOST
        end: str = "lost" if lost else self.result.end.value
        return end + digits

    @property
    def bad_close(self) -> str | None:
        """What was wrong with the end of the connection; None if nothing was."""
        assert self.call is not None
        closed = self.call.closed
        if closed is None or not closed.clean:
            return self.call.link.ending().why
        if closed.code in GOOD_CLOSES[Peer.APP]:
            return None
        return f"the app closed with {closed.code}" + (closed.reason and f": {closed.reason}")

    def row(self) -> tuple[object, ...]:
        """The row of the table; see COLUMNS."""
        return (
            self.number,
            self.end,
            self.said,
            self.heard / FLICKS,
            self.task.gaps.count,
            self.came["PlayAudio"],
            self.came["Mark"],
            self.statistics.worst_lateness,
            self.breaches.total,
        )

    def figures(self) -> dict[str, JSON]:
        """The results, as JSON."""
        result, hooked = self.result, self.hooked
        closed = self.call.closed if self.call else None
        return {
            "call": self.number,
            "call_sid": self.task.metadata.attributes["callSid"],
            "end": result.end.value if result else None,
            "closed": closed and attrs.asdict(closed),
            "duration": result.duration if result else None,
            "digits": result.digits if result else None,
            "seconds_said": round(self.said, 3),
            "seconds_heard": round(self.heard / FLICKS, 3),
            "gaps": self.task.gaps.count,
            "seconds_of_gaps": round(self.task.gaps.seconds, 3),
            **self.statistics.to_json(),
            "app_messages": dict(self.came),
            "breaches": self.breaches.to_json(),
            "notes": [*self.notes],
            "action_hook": hooked and {"url": hooked.url, "status": hooked.status},
            "files": [str(path) for path in self.files],
            "failures": [*self.failures],
        }
