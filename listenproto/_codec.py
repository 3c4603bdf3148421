"""Messages to WebSocket payloads and back: strict out, tolerant in (LP-ODD).

Reading never raises: text that is not a message becomes :class:`Malformed`, which says why. What is
written is first read back by the same parsers, so that this end cannot send what it would not
accept.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeAlias, cast

import attrs

from listenproto._errors import LocalProtocolError
from listenproto._jsontext import members_before_the_cut, values, whole_number
from listenproto._l16 import PLAY_RATES, SAMPLE_BYTES, flicks_of
from listenproto._messages import (
    JSON,
    Audio,
    ClearMarks,
    ClipContentType,
    ClipId,
    Close,
    Disconnect,
    Dtmf,
    KillAudio,
    Malformed,
    Mark,
    MarkEvent,
    MarkFate,
    Message,
    Metadata,
    MixType,
    Payload,
    Peer,
    PlayAudio,
    PlayDone,
    UnknownMessage,
)
from listenproto._wav import Wav, WavError, mended_wav

__all__ = [
    "DIGITS",
    "MAX_METADATA",
    "clip_audio",
    "clip_flicks",
    "decode",
    "decode_opening",
    "encode",
    "mended_clip",
    "read_base64",
]

DIGITS: Final = "0123456789*#ABCD"
"""The keys of a telephone (LP-DTMF-3)."""

MAX_METADATA: Final = 8192
"""The most bytes of metadata that deployed platforms send (LP-META-11)."""


def read_base64(text: str) -> bytes:
    """Decode base64 (RFC 4648, 4). Raises ValueError for anything else."""
    content = binascii.a2b_base64(text, strict_mode=True)
    if len(text) != (len(content) + 2) // 3 * 4:  # Python accepts excess padding
        raise ValueError("excess padding")
    return content


class _Bad(ValueError):
    """The body of a message breaks a clause."""

    def __init__(self, clause: str, reason: str) -> None:
        super().__init__(reason)
        self.clause = clause


def _objects(text: str) -> list[tuple[dict[str, JSON], str]] | Malformed:
    """Each JSON object of a text, with its part of the text; or what is wrong with the whole text.

    A message has one object, but an older deployed module can put several into one (LP-ODD-7). A
    text that breaks off, or has anything else in it, may be half of what was meant: none of it is
    used.
    """
    try:
        found = [*values(text)]
    except ValueError as exc:
        return Malformed(text, f"this text is not valid JSON: {exc}", "LP-ODD-2")
    for value, _, _ in found:
        if not isinstance(value, dict):
            return Malformed(text, f"expected a JSON object, not {value!r:.40}", "LP-ODD-3")
    return [(value, text[start:end]) for value, start, end in found]


# The bodies. Each parser takes the JSON object and returns the message or raises _Bad.


def _wrong(clause: str, obj: Mapping[str, JSON], key: str, allowed: str) -> _Bad:
    if key not in obj:
        return _Bad(clause, f"{key!r} is missing; it must be {allowed}")
    return _Bad(clause, f"{key!r} must be {allowed}, not {obj[key]!r:.40}")


def _field(obj: Mapping[str, JSON], key: str, clause: str) -> Mapping[str, JSON]:
    value = obj.get(key)
    if not isinstance(value, dict):
        raise _wrong(clause, obj, key, "a JSON object")
    return value


def _parse_dtmf(obj: Mapping[str, JSON]) -> Dtmf:
    digit, duration = obj.get("dtmf"), obj.get("duration")
    if not (isinstance(digit, str) and len(digit) == 1 and digit in DIGITS):
        raise _wrong("LP-DTMF-3", obj, "dtmf", f"one key of {DIGITS}")
    number = whole_number(duration)
    if duration is not None and (number is None or number < 0):
        raise _wrong("LP-DTMF-4", obj, "duration", "a whole number")
    return Dtmf(digit, number)


def _parse_id(data: Mapping[str, JSON], clause: str) -> ClipId | None:
    clip_id = data.get("id")
    if clip_id is None:
        return None
    if isinstance(clip_id, str | int | float) and not isinstance(clip_id, bool):
        return clip_id
    raise _wrong(clause, data, "id", "a string or a number")


def _parse_play_done(obj: Mapping[str, JSON]) -> PlayDone:
    if obj.get("data") is None:
        return PlayDone()
    data = _field(obj, "data", "LP-CLIP-26")
    return PlayDone(_parse_id(data, "LP-CLIP-26"), {key: data[key] for key in data if key != "id"})


def _parse_mark(obj: Mapping[str, JSON], sender: Peer) -> Mark | MarkEvent:
    clause = "LP-MARK-5" if sender is Peer.APP else "LP-MARK-7"
    data = _field(obj, "data", clause)
    name = data.get("name")
    if not isinstance(name, str):
        raise _wrong(clause, data, "name", "a string")
    if "event" not in data:
        return Mark(name)
    event = data["event"]
    if event not in ("playout", "cleared"):
        clause = "LP-MARK-10" if sender is Peer.PLATFORM else "LP-ODD-1"
        raise _wrong(clause, data, "event", "'playout' or 'cleared'")
    return MarkEvent(name, cast(MarkFate, event))


_CONTENT_TYPES: Final[dict[JSON, ClipContentType]] = {
    "raw": "raw",
    "wav": "wav",
    "wave": "wav",
}


def _parse_play_audio(obj: Mapping[str, JSON]) -> PlayAudio:
    data = _field(obj, "data", "LP-CLIP-6")
    kind, text, rate = (data.get(k) for k in ("audioContentType", "audioContent", "sampleRate"))
    if not isinstance(kind, str) or kind not in _CONTENT_TYPES:
        raise _wrong("LP-CLIP-7", data, "audioContentType", "raw, wav or wave")
    if not isinstance(text, str):
        raise _wrong("LP-CLIP-6", data, "audioContent", "a base64 string")
    try:
        content = read_base64(text)
    except ValueError as exc:
        raise _Bad("LP-CLIP-6", f"'audioContent' is not valid base64: {exc}") from None
    number = whole_number(rate)
    if _CONTENT_TYPES[kind] == "raw" and number not in PLAY_RATES:
        allowed = ", ".join(map(str, PLAY_RATES))
        raise _wrong("LP-CLIP-8", data, "sampleRate", f"one of {allowed}")
    queue_play = data.get("queuePlay")
    if not (queue_play is None or isinstance(queue_play, bool)):
        raise _wrong("LP-CLIP-12", data, "queuePlay", "true or false")
    return PlayAudio(
        content, _CONTENT_TYPES[kind], number, _parse_id(data, "LP-CLIP-11"), queue_play
    )


def _parse_metadata(obj: Mapping[str, JSON]) -> Metadata:
    rate = whole_number(obj.get("sampleRate", 8000))
    if rate not in PLAY_RATES:
        allowed = ", ".join(map(str, PLAY_RATES))
        raise _wrong("LP-META-5", obj, "sampleRate", f"one of {allowed}")
    mix_type = obj.get("mixType", "mono")
    if mix_type not in ("mono", "stereo", "mixed"):
        raise _wrong("LP-META-6", obj, "mixType", "mono, stereo or mixed")
    attributes = {key: obj[key] for key in obj if key not in ("sampleRate", "mixType")}
    return Metadata(attributes, rate, MixType(mix_type))


_Parser: TypeAlias = Callable[[Mapping[str, JSON]], Message]

_PARSERS: Final[dict[tuple[str, str], tuple[frozenset[Peer], _Parser]]] = {
    ("event", "dtmf"): (Dtmf.senders, _parse_dtmf),
    ("type", "playDone"): (PlayDone.senders, _parse_play_done),
    ("type", "playAudio"): (PlayAudio.senders, _parse_play_audio),
    ("type", "killAudio"): (KillAudio.senders, lambda obj: KillAudio()),
    ("type", "clearMarks"): (ClearMarks.senders, lambda obj: ClearMarks()),
    ("type", "disconnect"): (Disconnect.senders, lambda obj: Disconnect()),
}
"""Who may send each message, and the parser of its body; for marks see _parse_mark."""


def _parse(obj: Mapping[str, JSON], sender: Peer) -> Message:
    for key in ("type", "event"):
        name = obj.get(key)
        if (key, name) == ("type", "mark"):
            return _parse_mark(obj, sender)
        if isinstance(name, str) and (key, name) in _PARSERS:
            senders, parse = _PARSERS[key, name]
            try:
                return parse(obj)
            except _Bad as exc:
                # The clauses about a body are about the peer that may send it.
                clause = exc.clause if sender in senders else "LP-ODD-1"
                raise _Bad(clause, str(exc)) from None
    # Metadata has no type; a second one is recognized by what every metadata has.
    untyped = "type" not in obj and "event" not in obj
    if sender is Peer.PLATFORM and untyped and ("mixType" in obj or "callSid" in obj):
        return _parse_metadata(obj)
    return UnknownMessage(obj)


def _read(
    obj: Mapping[str, JSON], text: str, parse: Callable[[Mapping[str, JSON]], Message]
) -> Message:
    try:
        return parse(obj)
    except _Bad as exc:
        return Malformed(text, str(exc), exc.clause)


def _reread_string_rate(obj: Mapping[str, JSON], rate: int) -> None:
    data = obj.get("data")
    if isinstance(data, dict) and isinstance(data.get("sampleRate"), str):
        data["sampleRate"] = rate


def decode(
    payload: str | bytes, sender: Peer, *, string_sample_rate: int | None = None
) -> list[Message]:
    """Read one WebSocket message of ``sender``, other than a platform's first; never raises.

    A text may have more than one JSON object: each becomes a message or, with a bad body, a
    :class:`Malformed`. A text with anything else in it becomes one :class:`Malformed`.
    ``string_sample_rate``: read a playAudio rate written as a string as this rate, as deployed
    platforms do.
    """
    if isinstance(payload, bytes):
        return [Audio(payload)]

    def parse(obj: Mapping[str, JSON]) -> Message:
        if string_sample_rate is not None and obj.get("type") == "playAudio":
            _reread_string_rate(obj, string_sample_rate)
        message = _parse(obj, sender)
        _check_wav(message, sender)
        return message

    return _read_all(payload, parse)


def _read_all(text: str, parse: Callable[[Mapping[str, JSON]], Message]) -> list[Message]:
    objects = _objects(text)
    if isinstance(objects, Malformed):
        return [objects]
    return [_read(obj, piece, parse) for obj, piece in objects]


def _check_wav(message: Message, sender: Peer) -> None:
    """Raise if the message is a WAV clip that cannot be played; reads its header."""
    if isinstance(message, PlayAudio) and message.content_type == "wav":
        try:
            _ = message.head
        except WavError as exc:
            clause = "LP-CLIP-10" if sender in message.senders else "LP-ODD-1"
            raise _Bad(clause, str(exc)) from None


def decode_opening(payload: str | bytes, *, salvage: bool = False) -> list[Message]:
    """Read a platform's first message, the metadata; never raises.

    With ``salvage``, text that is cut off or damaged becomes metadata of the members that are whole
    in front of that, with ``truncated`` and ``flaw`` set (LP-META-12).
    """
    if isinstance(payload, bytes):
        return [Audio(payload)]
    objects = _objects(payload)
    if isinstance(objects, Malformed):
        if salvage and (members := members_before_the_cut(payload)):
            parse = partial(_parse_opening, payload, flaw=_flaw(payload))
            return [_read(members, payload, parse)]
        not_an_object = objects.clause == "LP-ODD-3"
        return [attrs.evolve(objects, clause="LP-META-1") if not_an_object else objects]
    (first, text), *rest = objects
    return [
        _read(first, text, partial(_parse_opening, text)),
        *(_read(obj, piece, lambda obj: _parse(obj, Peer.PLATFORM)) for obj, piece in rest),
    ]


def _flaw(text: str) -> str:
    """Why only the beginning of a text could be read that starts with an object."""
    try:
        next(values(text))
    except ValueError:
        return "the metadata is cut off or damaged; only the members before that were read"
    return "something other than a JSON object follows the metadata; only the metadata was read"


def _parse_opening(text: str, obj: Mapping[str, JSON], *, flaw: str = "") -> Metadata:
    # A byte that is not UTF-8 has become a surrogate; it counts as the one byte that it was.
    size = len(text.encode(errors="replace"))
    return attrs.evolve(_parse_metadata(obj), truncated=bool(flaw), size=size, flaw=flaw)


def mended_clip(clip: PlayAudio) -> PlayAudio:
    """The clip with the right length in the header of its WAV (LP-CLIP-31).

    It is returned unchanged if the length is right, or if the WAV cannot be played anyway.
    """
    if clip.content_type != "wav":
        return clip
    try:
        head = clip.head
    except WavError:  # the check before sending reports it
        return clip
    if head.flaw is None:
        return clip
    return attrs.evolve(clip, content=mended_wav(clip.content, head))


def clip_audio(clip: PlayAudio) -> tuple[bytes, int]:
    """The audio of a clip, one channel of L16 in whole samples, and its rate in Hz (LP-CLIP-17).

    The odd last byte of a raw clip is left out; two channels of a WAV are mixed down. Raises
    :class:`WavError` if a WAV cannot be played.
    """
    if clip.content_type == "wav":
        head = clip.head
        pcm = clip.content[head.start : head.start + head.size]
        return Wav(pcm, head.rate, head.channels).mono(), head.rate
    return clip.content[: len(clip.content) // 2 * 2], clip.sample_rate or PLAY_RATES[0]


def clip_flicks(clip: PlayAudio) -> int:
    """The media time of the audio of a clip, in flicks; see :func:`clip_audio`."""
    if clip.content_type == "wav":
        return flicks_of(clip.head.size // clip.head.frame, clip.head.rate)
    return flicks_of(len(clip.content) // SAMPLE_BYTES, clip.sample_rate or PLAY_RATES[0])


def _members(**members: JSON) -> dict[str, JSON]:
    return {key: value for key, value in members.items() if value is not None}


def _build_dtmf(message: Dtmf) -> JSON:
    duration = None if message.duration is None else str(message.duration)
    return _members(event="dtmf", dtmf=message.digit, duration=duration)


def _build_play_done(message: PlayDone) -> JSON:
    data = _members(id=message.id) | dict(message.playback)
    return _members(type="playDone", data=data or None)


def _build_play_audio(message: PlayAudio) -> JSON:
    data = _members(
        audioContent=base64.b64encode(message.content).decode(),
        audioContentType=message.content_type,
        sampleRate=message.sample_rate,
        id=message.id,
        queuePlay=message.queue_play,
    )
    return {"type": "playAudio", "data": data}


def _build_metadata(message: Metadata) -> JSON:
    # At the front, so that a cut at 8192 bytes does not hit them.
    front = {"sampleRate": message.sample_rate, "mixType": message.mix_type.value}
    return front | dict(message.attributes)


_BUILDERS: Final[dict[type, Callable[..., JSON]]] = {
    Dtmf: _build_dtmf,
    PlayDone: _build_play_done,
    MarkEvent: lambda m: {"type": "mark", "data": {"name": m.name, "event": m.event}},
    PlayAudio: _build_play_audio,
    KillAudio: lambda m: {"type": "killAudio"},
    Mark: lambda m: {"type": "mark", "data": {"name": m.name}},
    ClearMarks: lambda m: {"type": "clearMarks"},
    Disconnect: lambda m: {"type": "disconnect"},
    UnknownMessage: lambda m: dict(m.body),
    Metadata: _build_metadata,
}


def encode(message: Message, sender: Peer) -> Payload:
    """Write a message of ``sender`` as one WebSocket payload.

    Raises :class:`LocalProtocolError` if the parsers here would not read back the same message.
    """
    if isinstance(message, Audio):
        if not isinstance(message.pcm, bytes):
            raise TypeError(f"Audio takes bytes of L16, not {type(message.pcm).__name__}")
        return message.pcm
    if isinstance(message, Close):
        return message
    if isinstance(message, Malformed):
        raise LocalProtocolError("a Malformed message cannot be sent", clause=message.clause)
    obj = _BUILDERS[type(message)](message)
    try:
        text = json.dumps(obj, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as exc:
        # Without its repr: a value that JSON cannot write may have no repr either.
        raise LocalProtocolError(
            f"{type(message).__name__} cannot be written as JSON: {exc}", clause="LP-ODD-2"
        ) from exc

    def parse(obj: Mapping[str, JSON]) -> Message:
        _check_wav(message, sender)  # whose header was read before; the same bytes come back
        return _parse(obj, sender)

    read = decode_opening(text) if isinstance(message, Metadata) else _read_all(text, parse)
    if isinstance(read[0], Malformed):
        raise LocalProtocolError(
            f"{type(message).__name__} cannot be sent: {read[0].reason}", clause=read[0].clause
        )
    if read != [message]:
        raise LocalProtocolError(
            f"cannot send {message!r:.200}; the receiver would read it as {read[0]!r:.200}",
            clause="LP-ODD-6",
        )
    return text
