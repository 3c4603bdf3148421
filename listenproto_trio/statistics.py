"""What passed in a call so far, and how late it was."""

from __future__ import annotations

import math

import attrs

from listenproto.session import Session

__all__ = ["Lateness", "Statistics"]


@attrs.define
class Lateness:
    """How late things are that have a time each: in seconds, against what came soonest before.

    What comes sooner than all before it is not late, and makes nothing late that came already.
    """

    soonest: float = math.inf
    now: float = 0.0
    """How late the newest was; 0 where nothing came."""
    worst: float = 0.0
    """How late the latest was; 0 where nothing came."""

    def note(self, offset: float) -> None:
        """Something came so many seconds behind its time, on whatever clock that is."""
        if offset < self.soonest:
            self.soonest = offset
        self.now = offset - self.soonest
        if self.now > self.worst:
            self.worst = self.now


@attrs.frozen(kw_only=True)
class Statistics:
    """A call at one moment: messages, bytes of audio, seconds.

    ``samples_dropped`` and ``events_dropped`` are at the application's end what was not read in
    time, at the platform's, captured audio that found no room to be sent, and messages of the app
    that were out of place, broken or found no room.
    ``buffered`` is how much the caller is still to hear, as far as this end knows.

    ``lateness`` is how late the newest was, ``worst_lateness`` the latest. At the application's
    end that is how much later than its media time the platform's audio came, against what came
    soonest until then: a pause of the listen and audio that the platform dropped look the same
    there, and audio that comes ever sooner, as of a caller faster than real time, is not late. At
    the platform's end it is how far behind their moments the caller's steps ran.
    """

    messages_received: int = 0
    messages_sent: int = 0
    audio_received: int = 0
    audio_sent: int = 0
    events_dropped: int = 0
    samples_dropped: int = 0
    buffered: float = 0.0
    lateness: float = 0.0
    worst_lateness: float = 0.0

    @classmethod
    def of(
        cls,
        session: Session,
        lateness: Lateness,
        *,
        buffered: float,
        events_dropped: int,
        samples_dropped: int = 0,
    ) -> Statistics:
        """Those of a call with this session."""
        return cls(
            messages_received=session.received.messages,
            messages_sent=session.sent.messages,
            audio_received=session.received.audio,
            audio_sent=session.sent.audio,
            events_dropped=events_dropped,
            samples_dropped=samples_dropped,
            buffered=buffered,
            lateness=lateness.now,
            worst_lateness=lateness.worst,
        )

    def to_json(self) -> dict[str, int | float]:
        """The figures by their names, for JSON; seconds to the millisecond."""
        figures: dict[str, int | float] = attrs.asdict(self)
        return {
            name: round(figure, 3) if isinstance(figure, float) else figure
            for name, figure in figures.items()
        }

    def __str__(self) -> str:
        """One line, for logs."""
        text = (
            f"received {self.messages_received} messages, {self.audio_received} bytes of audio, "
            f"up to {self.worst_lateness:.3f} s late; "
            f"sent {self.messages_sent} messages, {self.audio_sent} bytes of audio"
        )
        if self.events_dropped or self.samples_dropped:
            text += f"; dropped {self.samples_dropped} samples, {self.events_dropped} events"
        return text
