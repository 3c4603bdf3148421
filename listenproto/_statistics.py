"""What passed in a call so far, and how late it was."""

from __future__ import annotations

import math

import attrs

from listenproto._session import Traffic

__all__ = ["Lateness", "Statistics"]


@attrs.define
class Lateness:
    """How late things come that are due at a certain time, in seconds.

    Lateness is measured against the earliest arrival so far.
    """

    soonest: float = math.inf
    """The smallest offset so far, in seconds; infinite if nothing came."""
    now: float = 0.0
    """Lateness of the newest arrival; 0 if nothing came."""
    worst: float = 0.0
    """Greatest lateness so far; 0 if nothing came."""

    def note(self, offset: float) -> None:
        """Something came ``offset`` seconds after its time, on any clock."""
        if offset < self.soonest:
            self.soonest = offset
        self.now = offset - self.soonest
        if self.now > self.worst:
            self.worst = self.now


@attrs.frozen(kw_only=True)
class Statistics:
    """Figures of a call at one moment: numbers of messages, bytes of audio, seconds.

    ``samples_dropped`` and ``events_dropped``: at the application's end, audio and other events
    that were not read in time; at the platform's end, captured audio that there was no room to
    send, and messages of the app that were out of place, broken or for which there was no room.
    ``buffered`` is how much the caller still has to hear, as far as this end knows.

    ``lateness`` is that of the newest audio, ``worst_lateness`` the greatest so far. At the
    application's end it is how late audio came for its position in the call, measured against the
    earliest arrival so far. A pause of the listen, or audio that the platform dropped, looks like
    lateness there; audio that is faster than real time is never late. At the platform's end it is
    how far the simulated caller is behind schedule.
    """

    messages_received: int = 0
    """How many messages came from the other end, without closes."""
    messages_sent: int = 0
    """How many messages this end has sent, without closes."""
    audio_received: int = 0
    """Bytes of audio that came from the other end."""
    audio_sent: int = 0
    """Bytes of audio that this end has sent; those in clips do not count."""
    events_dropped: int = 0
    samples_dropped: int = 0
    buffered: float = 0.0
    lateness: float = 0.0
    worst_lateness: float = 0.0

    @classmethod
    def of(
        cls,
        received: Traffic,
        sent: Traffic,
        lateness: Lateness,
        *,
        buffered: float,
        events_dropped: int,
        samples_dropped: int = 0,
    ) -> Statistics:
        """The statistics of a call with so much traffic."""
        return cls(
            messages_received=received.messages,
            messages_sent=sent.messages,
            audio_received=received.audio,
            audio_sent=sent.audio,
            events_dropped=events_dropped,
            samples_dropped=samples_dropped,
            buffered=buffered,
            lateness=lateness.now,
            worst_lateness=lateness.worst,
        )

    def to_json(self) -> dict[str, int | float]:
        """The figures by name, for JSON; seconds are rounded to milliseconds."""
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
