"""Every message of the listen protocol: one immutable class and one row of the table each.

The classes are values: compare them, hash them, print them, keep them. They have no behaviour:
:mod:`listenproto._bodies` knows how the members of a message look on the wire,
:mod:`listenproto.codec` how a message does, :mod:`listenproto._rules` when it may be sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final, TypeAlias, get_args

import attrs

from listenproto._bodies import (
    read_clip,
    read_dtmf,
    read_mark,
    read_play_done,
    write_clip,
    write_dtmf,
    write_mark,
    write_metadata,
    write_play_done,
)
from listenproto._choices import member, one_of
from listenproto._frozen import FrozenMapping
from listenproto._terms import JSON, ClipContentType, ClipId, MarkFate, MixType, Mode, Peer
from listenproto._wav import WavHead, read_clip_head

__all__ = [
    "JSON",
    "Audio",
    "ClearMarks",
    "ClipContentType",
    "ClipId",
    "Close",
    "Disconnect",
    "Dtmf",
    "FromApp",
    "FromPlatform",
    "KillAudio",
    "Malformed",
    "Mark",
    "MarkEvent",
    "MarkFate",
    "Message",
    "Metadata",
    "MixType",
    "Mode",
    "Payload",
    "Peer",
    "PlayAudio",
    "PlayDone",
    "UnknownMessage",
]

_EMPTY: Final = FrozenMapping({})


def _mix_type(value: MixType | str) -> MixType:
    return member(MixType, value, "mix_type")


def _length(data: bytes) -> str:
    return f"<{len(data)} bytes>"


@attrs.frozen
class Audio:
    """L16: 16-bit signed little-endian samples, interleaved if there are two channels.

    The platform sends 1 or 2 channels at the verb's ``sampleRate``, the app 1 channel at
    ``bidirectionalAudio.sampleRate``.
    """

    pcm: bytes = attrs.field(repr=_length)
    """The samples, as bytes of L16."""


@attrs.frozen
class Metadata:
    """The platform's first message: the attributes of the call (LP-META-1).

    ``attributes`` has every key except ``sampleRate`` and ``mixType``. ``sample_rate`` is that of
    the platform's audio, in Hz. ``truncated`` is true if only some of the text could be read
    (LP-META-12). ``flaw`` says what was wrong with the metadata, and ``text`` is then the text as
    it came; both are empty if nothing was. ``size`` is how many bytes came, 0 if the metadata did
    not come over a connection.
    """

    attributes: Mapping[str, JSON] = attrs.field(default=_EMPTY, converter=FrozenMapping)
    sample_rate: int = 8000
    mix_type: MixType = attrs.field(default=MixType.MONO, converter=_mix_type)
    """Which parties are in the platform's audio, and so how many channels it has."""
    truncated: bool = False
    size: int = attrs.field(default=0, eq=False, repr=False)
    flaw: str = attrs.field(default="", eq=False, repr=False)
    text: str = attrs.field(default="", eq=False, repr=False)

    @property
    def call_sid(self) -> str | None:
        """The call's sid, or None if the platform sent none; several listens of a call share it."""
        sid = self.attributes.get("callSid")
        return sid if isinstance(sid, str) else None


@attrs.frozen
class Dtmf:
    """A key that the caller pressed: one of ``0-9 * # A-D``.

    ``duration`` is in RTP timestamp units of 1/8000 s; None if the platform sent none.
    """

    digit: str
    """The key."""
    duration: int | None = None


@attrs.frozen
class PlayDone:
    """A clip finished (LP-CLIP-23). Only deployed platforms send ``id`` and ``playback``, figures.

    ``id`` is that of the clip.
    """

    id: ClipId | None = None
    playback: Mapping[str, JSON] = attrs.field(default=_EMPTY, converter=FrozenMapping)


@attrs.frozen
class MarkEvent:
    """Playout reached a mark, or a killAudio cleared it (LP-MARK-10)."""

    name: str
    """The name of the mark, as the app sent it."""
    event: MarkFate = attrs.field(validator=one_of(get_args(MarkFate)))
    """``playout`` if playout reached the mark, ``cleared`` if a killAudio removed it."""


@attrs.frozen
class PlayAudio:
    """A clip: a complete piece of audio to play to the caller, in clips mode only (LP-CLIP-1).

    ``content`` is raw L16 mono at ``sample_rate`` Hz, or a whole WAV file, whose header gives the
    rate. ``queue_play`` tells deployed platforms to play the clip after those before it.
    """

    content: bytes = attrs.field(repr=_length)
    content_type: ClipContentType = attrs.field(
        default="raw", validator=one_of(get_args(ClipContentType))
    )
    """``raw`` for L16 without a header, ``wav`` for a WAV file."""
    sample_rate: int | None = None
    id: ClipId | None = None
    """What names the clip in its playDone; :meth:`AppSession.send` adds one if it is None
    (LP-CLIP-14)."""
    queue_play: bool | None = None

    @cached_property
    def head(self) -> WavHead:
        """The header of a WAV; raises :class:`WavError` if it cannot be played (LP-CLIP-10)."""
        return read_clip_head(self.content)


@attrs.frozen
class KillAudio:
    """Stop what plays and drop what waits (LP-KILL-2)."""


@attrs.frozen
class Mark:
    """Ask for an event when playout gets here: after the last whole sample sent before it.

    In streaming mode only (LP-MARK-1).
    """

    name: str
    """What comes back in the event of the mark; two marks may have the same name (LP-MARK-13)."""


@attrs.frozen
class ClearMarks:
    """Remove the pending marks; no event will come for them (LP-MARK-15)."""


@attrs.frozen
class Disconnect:
    """End the listen; the platform closes the WebSocket (LP-END-9)."""


@attrs.frozen
class UnknownMessage:
    """A JSON object that is not a message of the protocol; deployed peers send some.

    ``type`` is its ``type`` or ``event``, if that is a string, else None.
    """

    body: Mapping[str, JSON] = attrs.field(converter=FrozenMapping)
    """The whole JSON object; read-only."""

    @property
    def type(self) -> str | None:
        for key in ("type", "event"):
            value = self.body.get(key)
            if isinstance(value, str):
                return value
        return None


@attrs.frozen
class Malformed:
    """A text that is not a valid message, what is wrong with it, and the clause that it breaks."""

    text: str
    """The text as it came."""
    reason: str
    """What is wrong with it, in words."""
    clause: str
    """The requirement that it breaks, such as LP-ODD-2."""


@attrs.frozen
class Close:
    """The close of the WebSocket, as a payload in an outbox or on a wire (RFC 6455, 7.4)."""

    code: int = 1000
    """The WebSocket close code; 1005 for a close without one, 1006 for no close at all."""
    reason: str = ""
    """The reason in it; at most 123 bytes of UTF-8 are sent."""


FromPlatform: TypeAlias = Audio | Metadata | Dtmf | PlayDone | MarkEvent | UnknownMessage
"""What only a platform sends, and what both peers send."""

FromApp: TypeAlias = Audio | PlayAudio | KillAudio | Mark | ClearMarks | UnknownMessage | Disconnect
"""What only an app sends, and what both peers send."""

Message: TypeAlias = FromPlatform | FromApp | Malformed | Close
"""Any message, as parsed from or written to one WebSocket message; a close, too."""

Payload: TypeAlias = str | bytes | Close
"""One WebSocket message, text or binary, or the close."""


Parse: TypeAlias = Callable[[Mapping[str, JSON], Peer], Message]
"""Reads the JSON object of a message that the peer sent; raises :class:`BadBody`."""

Build: TypeAlias = Callable[[Any], JSON]
"""Writes a message as a JSON object."""


@attrs.frozen
class Row:
    """One kind of message: everything about it but its effect."""

    kind: type[Any]
    senders: frozenset[Peer]
    """Who may send it."""
    name: str | None = None
    """What names it in the JSON object; None if nothing does."""
    modes: frozenset[Mode] = frozenset(Mode)
    """The modes in which the app may send it."""
    clause: str | None = None
    """The clause that says so; None if it allows every mode."""
    key: str = "type"
    """The member of the JSON object that has the name."""
    parse: Parse | None = None
    build: Build | None = None
    """Both are None if the JSON object has only the name, or if there is none."""

    @property
    def is_bare(self) -> bool:
        """Whether it is a JSON object that has nothing but its name, as killAudio."""
        return self.name is not None and self.parse is None


_PLATFORM: Final = frozenset({Peer.PLATFORM})
_APP: Final = frozenset({Peer.APP})
_BOTH: Final = frozenset(Peer)
_NOBODY: Final = frozenset[Peer]()

_CLIPS: Final = frozenset({Mode.CLIPS})
_STREAMING: Final = frozenset({Mode.STREAMING})


def _mark(obj: Mapping[str, JSON], sender: Peer) -> Mark | MarkEvent:
    name, event = read_mark(obj, sender)
    return Mark(name) if event is None else MarkEvent(name, event)


# The table of all messages. Whatever reads, writes, judges or generates messages looks here. A new
# message needs its class, its row, and its name in __all__ and in FromApp or FromPlatform. What it
# does, if anything, is in the observer (_RECORDS) and in the session that receives it.
ROWS: Final = (
    Row(
        Metadata,
        _PLATFORM,
        build=lambda m: write_metadata(m.attributes, m.sample_rate, m.mix_type),
    ),
    Row(Audio, _BOTH, modes=_STREAMING, clause="LP-STRM-1"),
    Row(
        Dtmf,
        _PLATFORM,
        "dtmf",
        key="event",
        parse=lambda obj, sender: Dtmf(*read_dtmf(obj)),
        build=lambda m: write_dtmf(m.digit, m.duration),
    ),
    Row(
        PlayDone,
        _PLATFORM,
        "playDone",
        parse=lambda obj, sender: PlayDone(*read_play_done(obj)),
        build=lambda m: write_play_done(m.id, m.playback),
    ),
    Row(
        MarkEvent,
        _PLATFORM,
        "mark",
        parse=_mark,
        build=lambda m: write_mark(m.name, m.event),
    ),
    Row(
        PlayAudio,
        _APP,
        "playAudio",
        _CLIPS,
        "LP-CLIP-1",
        parse=lambda obj, sender: PlayAudio(*read_clip(obj)),
        build=lambda m: write_clip(m.content, m.content_type, m.sample_rate, m.id, m.queue_play),
    ),
    Row(KillAudio, _APP, "killAudio", _CLIPS | _STREAMING, "LP-KILL-1"),
    Row(
        Mark,
        _APP,
        "mark",
        _STREAMING,
        "LP-MARK-1",
        parse=_mark,
        build=lambda m: write_mark(m.name),
    ),
    Row(ClearMarks, _APP, "clearMarks", _STREAMING, "LP-MARK-1"),
    Row(UnknownMessage, _BOTH, build=lambda m: dict(m.body)),
    Row(Disconnect, _APP, "disconnect"),
    Row(Malformed, _NOBODY),
    Row(Close, _BOTH),
)
