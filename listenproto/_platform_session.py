"""The platform's end of a conversation, message by message, with what the caller hears."""

from __future__ import annotations

import json
from typing import Final, TypeAlias

from listenproto._clip_audio import clip_audio, clip_flicks
from listenproto._clips import bits_read
from listenproto._errors import LocalProtocolError
from listenproto._heard import Heard, PlayoutClip, PlayoutEnd, PlayoutFate
from listenproto._l16 import misread
from listenproto._messages import (
    Audio,
    ClearMarks,
    Close,
    Disconnect,
    FromApp,
    KillAudio,
    Mark,
    MarkEvent,
    Message,
    Metadata,
    Mode,
    Payload,
    Peer,
    PlayAudio,
    PlayDone,
)
from listenproto._observer import Observer
from listenproto._playout import Playout
from listenproto._profile import DOCUMENTED, Profile, profile_of
from listenproto._session import ABNORMAL, Session
from listenproto._splitter import damaged_metadata, split_argument
from listenproto._verb import ListenVerb
from listenproto._violation import Violation
from listenproto._way import stream_rate_for, way_of
from listenproto.codec import MAX_METADATA, decode, encode

__all__ = ["AppMessage", "PlatformEvent", "PlatformSession"]

AppMessage: TypeAlias = FromApp | Violation
"""What the app sent, as the platform read it."""
PlatformEvent: TypeAlias = AppMessage | Close
"""What :meth:`PlatformSession.receive` returns: messages of the app, or what is wrong with them."""

MAX_ANSWERS: Final = 2**20
"""The most characters of answers that may wait for an app; it refuses what would add more."""


class PlatformSession(Session):
    """The platform's end: takes what the app sends, and plays it to the caller.

    ``way`` is the listen verb, or the mode. ``mode`` is needed only if it is not the verb's own:
    off, as in a dial; any other is a ValueError. ``stream_rate`` is the sample rate of the app's
    audio in Hz, by default the verb's, or else 8000; ValueError for one that no verb can have, or
    that is not this verb's. ``max_seconds`` bounds what is buffered for the caller (LP-STRM-4).
    ``keep_passed`` keeps what passes for :meth:`passed`, as for a trace.
    Modes and ``profile`` may be given by name; ValueError for a name that does not exist.
    """

    _peer = Peer.PLATFORM

    def __init__(
        self,
        way: ListenVerb | Mode | str,
        *,
        mode: Mode | str | None = None,
        stream_rate: int | None = None,
        profile: Profile | str = DOCUMENTED,
        max_seconds: float = 3600.0,
        keep_passed: bool = False,
    ) -> None:
        super().__init__(keep_passed=keep_passed)
        self._profile = profile_of(profile)
        self._newest_text: str | None = None
        self.observer: Observer = Observer(
            way_of(way), mode=mode, profile=self._profile, vantage=Peer.PLATFORM
        )
        """The observer that judges both ends' messages."""
        rate = stream_rate_for(way if isinstance(way, ListenVerb) else None, stream_rate)
        self.playout: Playout = Playout(
            profile=self._profile, stream_rate=rate, max_seconds=max_seconds
        )
        """What is buffered for the caller."""

    def receive(self, payload: str | bytes) -> list[PlatformEvent]:
        """Take one WebSocket message of the app and act on it; returns what it was.

        Faults are returned as :class:`~listenproto.Violation`: instead of the message if
        it was dropped, before it if it was acted on all the same (LP-ODD). Messages that were on
        their way when the listen ended are ignored (LP-END-7).
        """
        self._note(payload)
        rate = self._profile.string_sample_rate
        events: list[PlatformEvent] = []
        for message in decode(payload, Peer.APP, string_sample_rate=rate):
            if not self.ended:  # LP-END-7: also for what stands behind a disconnect in one text
                events += self._take(message)
        return events

    def _take(self, message: Message) -> list[PlatformEvent]:
        judgement = self.observer.judge(Peer.APP, message)
        violations = judgement.violations
        dropped = bool(violations) and any(violation.dropped for violation in violations)
        came, message = message, judgement.played or message
        if isinstance(message, PlayAudio | Mark) and not dropped and (lack := self._lack(message)):
            return [self._no_room(message, lack)]
        if not dropped and self.observer.reaches_nobody(message):
            assert isinstance(message, FromApp)
            return [*violations, message]  # it has no effect
        self.observer.take(Peer.APP, came, judgement)
        if dropped:
            return [*violations]
        if isinstance(message, Audio):
            if not message.pcm:
                return []
            stored = self.playout.add_stream(message.pcm)
            return [message] if stored else [self._no_room(message, self._seconds())]
        if isinstance(message, PlayAudio):
            pcm, rate = clip_audio(message)
            pcm = misread(pcm, bits_read(message, self._profile))
            queue_play = message.queue_play is True
            self._tell(self.playout.add_clip(pcm, rate, message.id, queue_play=queue_play))
        elif isinstance(message, KillAudio):
            self._tell(self.playout.kill())
        elif isinstance(message, Mark):
            self._tell(self.playout.add_mark(message.name))
        elif isinstance(message, ClearMarks):
            self._tell(self.playout.clear_marks())
        elif isinstance(message, Disconnect):
            self.close()
        assert isinstance(message, FromApp)
        return [*violations, message]

    def _lack(self, message: PlayAudio | Mark) -> str | None:
        """Why there is no room for the message; None if there is."""
        # Otherwise an app that asks and never reads could make this end keep any number of answers.
        if self._waiting_text + self.observer._marks.size >= MAX_ANSWERS:
            return f"at most {MAX_ANSWERS} characters of answers may wait for the app"
        if isinstance(message, Mark) or self._has_room(message):
            return None
        return self._seconds()

    def _has_room(self, clip: PlayAudio) -> bool:
        queue_play = clip.queue_play is True
        return self.playout.has_room_for_clip(clip_flicks(clip), queue_play=queue_play)

    def _seconds(self) -> str:
        return f"at most {self.playout.max_seconds:g} s of audio may wait for the caller"

    def _no_room(self, message: Audio | PlayAudio | Mark, lack: str) -> Violation:
        return Violation("LP-STRM-5", Peer.APP, message, f"no room for it: {lack}")

    def play(self, flicks: int) -> list[Heard]:
        """Let the caller hear the next ``flicks``; playDone and mark events go to the outbox."""
        heard: list[Heard] = []
        for item in self.playout.play(flicks):
            if isinstance(item, Heard):
                heard.append(item)
            else:
                self._tell([item])
        return heard

    def _tell(self, overs: list[PlayoutEnd]) -> None:
        for over in overs:
            if over.fate not in (PlayoutFate.PLAYED, PlayoutFate.KILLED):
                continue
            if isinstance(over.item, PlayoutClip):
                done = self._play_done(over.item, over.samples)
                self._commit(done, payload=self._encode_play_done(done))
                continue
            event = MarkEvent(
                over.item.name, "playout" if over.fate is PlayoutFate.PLAYED else "cleared"
            )
            payload = None
            if not self._profile.escapes_mark_names:
                data = f'{{"name":"{event.name}","event":"{event.event}"}}'
                payload = f'{{"type":"mark","data":{data}}}'
            self._commit(event, payload=payload)

    def _play_done(self, clip: PlayoutClip, samples: int) -> PlayDone:
        if not self._profile.play_done_data:
            return PlayDone()
        channel_rate, piece = self._profile.channel_rate, self._profile.clip_piece
        heard, read = samples * channel_rate // clip.rate, samples
        if piece:
            read = min(clip.length, (heard // piece + 1) * piece * clip.rate // channel_rate)
        milliseconds = read * 1000 // clip.rate
        playback = {
            "playbackSeconds": str(milliseconds // 1000),
            "playbackMilliseconds": str(milliseconds),
            "playbackLastOffsetPos": str(heard),
        }
        return PlayDone(clip.id, playback)

    def _encode_play_done(self, done: PlayDone) -> str | None:
        """Its text, if the profile makes something else of it than :func:`encode`."""
        if self._profile.escapes_clip_ids:
            return None
        return split_argument(str(encode(done, self._peer)), " ")

    def send(self, message: Message) -> Message:
        """Put a message into the outbox: metadata, audio, dtmf.

        Raises :class:`LocalProtocolError` if it may not be sent now, or is metadata of more than
        8192 bytes (LP-META-11); nothing has changed then.
        """
        judgement = self.check(message)
        if isinstance(message, Metadata):
            self._commit(message, judgement, payload=self.encode_metadata(message))
            self._newest_text = None  # it may have been cut off, so no text can be joined to it
        else:
            self._commit(message, judgement)
        return message

    def encode_metadata(self, metadata: Metadata) -> str:
        """The text as which metadata is sent; some profiles damage it on the way (LP-META-11).

        Raises :class:`LocalProtocolError` if it has more than 8192 bytes, unless the profile cuts
        it off there (LP-META-11).
        """
        text = encode(metadata, self._peer)
        assert isinstance(text, str)
        if self._profile.splits_metadata:
            text = damaged_metadata(json.loads(text))
        raw = text.encode()
        if len(raw) > MAX_METADATA and not self._profile.cuts_metadata:
            raise LocalProtocolError(
                f"the metadata has {len(raw)} bytes; at most {MAX_METADATA} may be sent",
                clause="LP-META-11",
            )
        return raw[:MAX_METADATA].decode(errors="surrogateescape")

    def close(self, code: int = 1000, reason: str = "") -> None:
        """End the listen: flush playout without telling the app, then close (LP-END-4)."""
        self.playout.flush()
        super().close(code, reason)

    def closed(self, code: int = 1000, reason: str = "") -> list[PlatformEvent]:
        """The app's close has come: flush playout. Code 1006 means :meth:`connection_lost`."""
        if code == ABNORMAL:
            return self.connection_lost()
        self.playout.flush()
        return [*self._closed(code, reason), Close(code, reason)]

    def connection_lost(self) -> list[PlatformEvent]:
        """The connection is gone without a close: playout is flushed."""
        self.playout.flush()
        return [*self._broken()]

    def _push(self, payload: Payload) -> None:
        if not isinstance(payload, str):
            self._outbox.append(payload)
            return
        place = len(self._outbox)
        if self._profile.text_overtakes_audio:
            while place and isinstance(self._outbox[place - 1], bytes):
                place -= 1
        if self._profile.joins_texts and place and self._outbox[place - 1] is self._newest_text:
            payload = self._newest_text + payload
            place -= 1
            del self._outbox[place]
        self._outbox.insert(place, payload)
        self._newest_text = payload
