"""An app whose platform is a script, for tests of what it knows of what it sent."""

from __future__ import annotations

import json

from listenproto import (
    DOCUMENTED,
    AppSession,
    Mark,
    Mode,
    Outcome,
    PlayAudio,
    PlaybackDone,
    Profile,
    Sent,
    Violation,
)

CLIPS, STREAMING = Mode.CLIPS, Mode.STREAMING
RATE = 8000


def audio(seconds: float) -> bytes:
    return bytes(2 * round(seconds * RATE))


def clip(seconds: float, name: str | None = None, queue: bool | None = None) -> PlayAudio:
    return PlayAudio(audio(seconds), sample_rate=RATE, id=name, queue_play=queue)


def opened(mode: Mode = CLIPS, profile: Profile = DOCUMENTED, **options: object) -> AppSession:
    app = AppSession(mode=mode, profile=profile, **options)  # type: ignore[arg-type]
    app.receive("{}")
    return app


def play(app: AppSession, clip: PlayAudio, now: float = 0.0) -> Sent:
    sent = app.send(clip, now)
    assert sent is not None
    return sent


def mark(app: AppSession, name: str, now: float = 0.0) -> Sent:
    sent = app.send(Mark(name), now)
    assert sent is not None
    return sent


def done(name: str | None = None, **figures: object) -> str:
    data = figures if name is None else {"id": name} | figures
    return json.dumps({"type": "playDone", "data": data})


def event(name: str, what: str = "playout") -> str:
    return json.dumps({"type": "mark", "data": {"name": name, "event": what}})


def ends(events: object) -> list[tuple[Sent, Outcome]]:
    """What has ended, so say some events, and how."""
    assert isinstance(events, list)
    return [(one.sent, one.outcome) for one in events if isinstance(one, PlaybackDone)]


def clauses(events: object) -> list[str]:
    assert isinstance(events, list)
    return [one.clause for one in events if isinstance(one, Violation)]
