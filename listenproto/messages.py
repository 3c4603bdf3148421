"""Every message of the listen protocol: one immutable class each, and who may send it.

The classes are values: compare them, print them, keep them. They carry no behaviour; how a
message looks on the wire is :mod:`listenproto.codec`'s affair, when it may be sent is that of
:mod:`listenproto.rules`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, TypeAlias, get_args

import attrs

from listenproto.choices import member, one_of
from listenproto.frozen import Frozen

__all__ = [
    "JSON",
    "Audio",
    "ClearMarks",
    "ClipId",
    "Close",
    "ContentType",
    "Disconnect",
    "Dtmf",
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
    "sender_of",
]

JSON: TypeAlias = Any
"""What ``json.loads`` gives: str, int, float, bool, None, list or dict of these."""

ClipId: TypeAlias = str | int | float
"""A clip's id as it stands in JSON; the reference app writes strings."""

_EMPTY: Final[Mapping[str, JSON]] = MappingProxyType({})


class Peer(enum.Enum):
    """The two ends of a conversation."""

    PLATFORM = "platform"
    APP = "app"

    @property
    def other(self) -> Peer:
        return Peer.APP if self is Peer.PLATFORM else Peer.PLATFORM


class Mode(enum.Enum):
    """What the app may send back: nothing, clips, or a stream (LP-VERB-3)."""

    OFF = "off"
    CLIPS = "clips"
    STREAMING = "streaming"


class MixType(enum.Enum):
    """Which parties the platform's audio carries (LP-AUD-7)."""

    MONO = "mono"
    STEREO = "stereo"
    MIXED = "mixed"

    @property
    def channels(self) -> int:
        """2 for stereo (caller left, callee right), else 1."""
        return 2 if self is MixType.STEREO else 1


ContentType: TypeAlias = Literal["raw", "wav"]
"""What a clip is: audio without a header, or a WAV file."""

MarkFate: TypeAlias = Literal["playout", "cleared"]
"""What became of a mark."""


def sender_of(value: Peer | str) -> Peer:
    """A converter for a field ``sender``."""
    return member(Peer, value, "sender")


def _mix_type(value: MixType | str) -> MixType:
    return member(MixType, value, "mix_type")


def _frozen_mapping(value: Mapping[str, JSON]) -> Mapping[str, JSON]:
    return MappingProxyType(dict(value))


def _length(data: bytes) -> str:
    return f"<{len(data)} bytes>"


@attrs.frozen
class Audio:
    """L16: 16-bit signed little-endian samples, interleaved where there are two channels.

    From the platform at the listen rate, 1 or 2 channels; from the app at the rate of
    ``bidirectionalAudio.sampleRate``, 1 channel.
    """

    senders: ClassVar = frozenset(Peer)

    pcm: bytes = attrs.field(repr=_length)


@attrs.frozen
class Metadata(Frozen):
    """The platform's first message: the attributes of the call (LP-META-1).

    ``attributes`` holds every key but ``sampleRate`` and ``mixType``; ``sample_rate`` is that of
    the platform's audio in samples a second. ``truncated`` says that only the front of the text
    came and was salvaged (LP-META-12); ``size`` is how many bytes came, 0 for metadata that is
    not from a wire.
    """

    senders: ClassVar = frozenset({Peer.PLATFORM})

    attributes: Mapping[str, JSON] = attrs.field(
        default=_EMPTY, converter=_frozen_mapping, hash=False
    )
    sample_rate: int = 8000
    mix_type: MixType = attrs.field(default=MixType.MONO, converter=_mix_type)
    truncated: bool = False
    size: int = attrs.field(default=0, eq=False, repr=False)

    @property
    def call_sid(self) -> str | None:
        """The call's sid, where the platform sent one; several listens of a call share it."""
        sid = self.attributes.get("callSid")
        return sid if isinstance(sid, str) else None


@attrs.frozen
class Dtmf:
    """A key that the caller pressed: one of ``0-9 * # A-D``.

    ``duration`` is in RTP timestamp units, 8000 a second; None where the platform sent none.
    """

    senders: ClassVar = frozenset({Peer.PLATFORM})

    digit: str
    duration: int | None = None


@attrs.frozen
class PlayDone:
    """A clip finished. ``id`` and ``playback`` figures come from deployed platforms only."""

    senders: ClassVar = frozenset({Peer.PLATFORM})

    id: ClipId | None = None
    playback: Mapping[str, JSON] = attrs.field(default=_EMPTY, converter=_frozen_mapping)


@attrs.frozen
class MarkEvent:
    """Playout reached a mark, or a killAudio cleared it."""

    senders: ClassVar = frozenset({Peer.PLATFORM})

    name: str
    event: MarkFate = attrs.field(validator=one_of(get_args(MarkFate)))


@attrs.frozen
class PlayAudio:
    """A clip: a whole piece of audio to play to the caller.

    ``content`` is raw L16 mono at ``sample_rate`` samples a second, or a whole WAV file, whose
    own header gives the rate. ``queue_play`` is what deployed platforms need to be told.
    """

    senders: ClassVar = frozenset({Peer.APP})

    content: bytes = attrs.field(repr=_length)
    content_type: ContentType = attrs.field(default="raw", validator=one_of(get_args(ContentType)))
    sample_rate: int | None = None
    id: ClipId | None = None
    queue_play: bool | None = None


@attrs.frozen
class KillAudio:
    """Stop what plays and flush what waits (LP-KILL-2)."""

    senders: ClassVar = frozenset({Peer.APP})


@attrs.frozen
class Mark:
    """Tell me when playout gets here: after the last whole sample sent before it."""

    senders: ClassVar = frozenset({Peer.APP})

    name: str


@attrs.frozen
class ClearMarks:
    """Forget the pending marks; no event comes for them."""

    senders: ClassVar = frozenset({Peer.APP})


@attrs.frozen
class Disconnect:
    """End the listen; the platform closes the WebSocket."""

    senders: ClassVar = frozenset({Peer.APP})


@attrs.frozen
class UnknownMessage:
    """A JSON object that the protocol does not name; deployed peers have some of their own.

    ``type`` is its ``type`` (or ``event``) where that is a string.
    """

    senders: ClassVar = frozenset(Peer)

    body: Mapping[str, JSON] = attrs.field(converter=_frozen_mapping)

    @property
    def type(self) -> str | None:
        for key in ("type", "event"):
            value = self.body.get(key)
            if isinstance(value, str):
                return value
        return None


@attrs.frozen
class Malformed:
    """What came instead of a message: the raw text, the reason, and the clause it breaks."""

    senders: ClassVar[frozenset[Peer]] = frozenset()

    text: str
    reason: str
    clause: str


@attrs.frozen
class Close:
    """The end of the WebSocket, as a payload in an outbox or on a wire (RFC 6455, 7.4)."""

    senders: ClassVar = frozenset(Peer)

    code: int = 1000
    reason: str = ""


Message: TypeAlias = (
    Audio
    | Metadata
    | Dtmf
    | PlayDone
    | MarkEvent
    | PlayAudio
    | KillAudio
    | Mark
    | ClearMarks
    | Disconnect
    | UnknownMessage
    | Malformed
    | Close
)

Payload: TypeAlias = str | bytes | Close
"""One WebSocket message, text or binary, or the close."""
