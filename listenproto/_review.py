"""Judges recorded calls: what breaks the protocol, and what went wrong all the same.

Deployed platforms do things that harm a call and break nothing: marks come early or never, clips
are noise, what follows an ``error`` has no effect. Such things are notes, not violations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from listenproto._clips import ClipSent
from listenproto._messages import Close, Message, Peer
from listenproto._observer import Observer
from listenproto._profile import PROFILES
from listenproto._sent import ROUND_TRIP, Outcome, Record, Sent
from listenproto._terms import sender_of
from listenproto._trace import Trace, TraceMoment, messages_of
from listenproto._violation import Violation

__all__ = ["TraceNote", "judge_trace", "review_trace"]

MICROSECOND: Final = 1e-6


@attrs.frozen
class TraceNote:
    """What went wrong with a message, or is known to go wrong, though nobody broke the protocol."""

    sender: Peer = attrs.field(converter=sender_of)
    """Who sent the message."""
    message: Message
    """The message."""
    reason: str
    """What goes wrong, in words."""

    def __str__(self) -> str:
        return self.reason


def judge_trace(trace: Trace, *, vantage: Peer | str | None = None) -> list[tuple[int, Violation]]:
    """Each protocol violation in a trace, with the number of its line in the file.

    ``vantage`` is the end that saw the call: that of the trace's header, unless given.
    """
    found = review_trace(trace, vantage=vantage)
    return [(number, one) for number, one in found if isinstance(one, Violation)]


def review_trace(
    trace: Trace, *, vantage: Peer | str | None = None
) -> list[tuple[int, Violation | TraceNote]]:
    """Each violation in a trace, and each note, with the number of its line in the file.

    ``vantage`` is the end that saw the call: that of the trace's header, unless given. What became
    of clips and marks is only known to the app's end.
    """
    observer = Observer(
        trace.header.way,
        profile=PROFILES[trace.header.profile],
        vantage=vantage or trace.header.vantage,
    )
    if trace.header.mode is not None:
        observer.mode = trace.header.mode  # that of the call, even if no verb could give it
    found: list[tuple[int, Violation | TraceNote]] = []
    for number, line, message in messages_of(trace):
        if isinstance(message, TraceMoment):
            continue
        caution = observer.caution(line.sender, message)
        violations = observer.see(line.sender, message, line.at * MICROSECOND)
        found += [(number, violation) for violation in violations]
        reasons = [] if caution is None else [caution]
        reasons += _ends(observer._record)
        if isinstance(message, Close):
            reasons += _unanswered(observer._record)
        found += [(number, TraceNote(line.sender, message, reason)) for reason in reasons]
    return found


def _ends(record: Record) -> Iterator[str]:
    """What is odd about how clips and marks have ended since the last call."""
    wrong_pace, record.wrong_pace = record.wrong_pace, None
    while record.ended:
        sent = record.ended.pop(0)
        if sent.outcome is Outcome.EARLY:
            wrong_pace = None
            yield f"{_name(sent)} was answered before the audio in front of it can have been heard"
        elif sent.outcome is Outcome.SKIPPED:
            yield f"{_name(sent)} was not answered, but a later one was"
    if wrong_pace is not None:
        yield wrong_pace


def _unanswered(record: Record) -> Iterator[str]:
    """For which clips and marks an answer was overdue when the call was closed."""
    for sent in record.under_way:
        late = record.now - sent.due
        if late > ROUND_TRIP and not sent.is_silenced:
            yield f"{_name(sent)} was not answered, {late:.1f} s after it was due"
    record.lose()
    record.ended.clear()


def _name(sent: Sent) -> str:
    return f"the {'clip' if isinstance(sent, ClipSent) else 'mark'} {sent.name!r:.60}"
