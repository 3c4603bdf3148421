"""Messages to WebSocket payloads and back: strict out, tolerant in (LP-ODD).

Reading never raises: text that is not a message becomes :class:`Malformed`, which says why. What is
written is first read back by the same parsers, so that this end cannot send what it would not
accept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import attrs

from listenproto._bodies import BadBody, base64_front, read_clip, read_metadata, write_metadata
from listenproto._errors import LocalProtocolError
from listenproto._jsontext import values
from listenproto._messages import (
    JSON,
    ROWS,
    Audio,
    Build,
    Close,
    Dtmf,
    Malformed,
    MarkEvent,
    Message,
    Metadata,
    Parse,
    Payload,
    Peer,
    PlayAudio,
    PlayDone,
    Row,
    UnknownMessage,
)
from listenproto._salvage import whole_members
from listenproto._wav import WavError

__all__ = [
    "MAX_METADATA",
    "broken_clip",
    "decode",
    "decode_opening",
    "encode",
]

MAX_METADATA: Final = 8192
"""The most bytes of metadata that deployed platforms send (LP-META-11)."""


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


_PARSERS: Final[dict[tuple[str, str], tuple[frozenset[Peer], Parse]]] = {}
"""Who may send the messages of a name, and their parser; marks and mark events share theirs."""

_BUILDERS: Final[dict[type, Build]] = {}


def _enter(row: Row) -> None:
    if row.name is not None:
        others, _ = _PARSERS.get((row.key, row.name), (frozenset[Peer](), None))
        parse = row.parse or (lambda obj, sender: row.kind())
        _PARSERS[row.key, row.name] = row.senders | others, parse
        _BUILDERS[row.kind] = lambda message: {row.key: row.name}
    if row.build is not None:
        _BUILDERS[row.kind] = row.build


for _row in ROWS:
    _enter(_row)


def _parse(obj: Mapping[str, JSON], sender: Peer) -> Message:
    for key in ("type", "event"):
        name = obj.get(key)
        if isinstance(name, str) and (key, name) in _PARSERS:
            senders, parse = _PARSERS[key, name]
            try:
                return parse(obj, sender)
            except BadBody as exc:
                # The clauses about a body are about the peer that may send it.
                clause = exc.clause if sender in senders else "LP-ODD-1"
                raise BadBody(clause, str(exc)) from None
    # Metadata has no type; a second one is recognized by what every metadata has.
    untyped = "type" not in obj and "event" not in obj
    if sender is Peer.PLATFORM and untyped and ("mixType" in obj or "callSid" in obj):
        return Metadata(*read_metadata(obj))
    return UnknownMessage(obj)


def _read(
    obj: Mapping[str, JSON], text: str, parse: Callable[[Mapping[str, JSON]], Message]
) -> Message:
    try:
        return parse(obj)
    except BadBody as exc:
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
            clause = "LP-CLIP-10" if sender is Peer.APP else "LP-ODD-1"
            raise BadBody(clause, str(exc)) from None


def broken_clip(message: Malformed, *, string_sample_rate: int | None = None) -> PlayAudio | None:
    """What deployed platforms play of a clip that cannot be read; None if it is nothing.

    They play base64 up to the character that is none, and a raw clip without a rate, or of one that
    does not exist, at ``string_sample_rate``.
    """
    if message.clause not in ("LP-CLIP-6", "LP-CLIP-8"):
        return None
    ((obj, *_),) = values(message.text)
    if string_sample_rate is not None:
        _reread_string_rate(obj, string_sample_rate)
    try:
        read = read_clip(obj, decoded=base64_front, other_rate=string_sample_rate)
        clip = PlayAudio(*read)
        _check_wav(clip, Peer.APP)
    except BadBody:
        return None
    return clip


def decode_opening(
    payload: str | bytes, *, salvage: bool = False, assume: Metadata | None = None
) -> list[Message]:
    """Read a platform's first message, the metadata; never raises.

    With ``salvage``, damaged text becomes metadata of the members that are whole in it, with
    ``truncated``, ``flaw`` and ``text`` set (LP-META-12). ``assume`` stands for what the platform
    leaves out: all of the metadata, if it begins with another message, or single members.
    """
    if isinstance(payload, bytes):
        return [*_assumed(assume), Audio(payload)]
    objects = _objects(payload)
    if isinstance(objects, Malformed):
        not_an_object = objects.clause == "LP-ODD-3"
        damaged = not not_an_object or payload.lstrip().startswith("{")
        if salvage and damaged and (members := whole_members(payload)):
            parse = partial(
                _parse_opening,
                payload,
                assume=assume,
                flaw=_flaw(payload, members, assume or Metadata()),
            )
            return [_read(members, payload, parse)]
        return [attrs.evolve(objects, clause="LP-META-1") if not_an_object else objects]
    (first, text), *rest = objects
    following = [_read(obj, piece, lambda obj: _parse(obj, Peer.PLATFORM)) for obj, piece in rest]
    if assume is not None:
        other = _read(first, text, lambda obj: _parse(obj, Peer.PLATFORM))
        if isinstance(other, Dtmf | PlayDone | MarkEvent):
            return [*_assumed(assume), other, *following]
    return [_read(first, text, partial(_parse_opening, text, assume=assume)), *following]


def _assumed(assume: Metadata | None) -> list[Message]:
    if assume is None:
        return []
    said = f"{assume.sample_rate} Hz {assume.mix_type.value} is assumed"
    return [attrs.evolve(assume, flaw=f"the platform sent no metadata; {said}")]


def _flaw(text: str, members: Mapping[str, JSON], defaults: Metadata) -> str:
    """What is wrong with a text of which only these members could be read."""
    try:
        next(values(text))
    except ValueError:
        said = "the metadata is cut off or damaged; only the members that are whole were read"
    else:
        said = "something other than a JSON object follows the metadata; only the metadata was read"
    usual = {"sampleRate": defaults.sample_rate, "mixType": defaults.mix_type.value}
    assumed = [f"{key} {usual[key]}" for key in usual if key not in members]
    return f"{said}; assumed: {', '.join(assumed)}" if assumed else said


def _parse_opening(
    text: str, obj: Mapping[str, JSON], *, assume: Metadata | None, flaw: str = ""
) -> Metadata:
    # A byte that is not UTF-8 has become a surrogate; it counts as the one byte that it was.
    size = len(text.encode(errors="replace"))
    if assume is not None:
        obj = write_metadata(assume.attributes, assume.sample_rate, assume.mix_type) | dict(obj)
    kept = text if flaw else ""
    return Metadata(*read_metadata(obj), truncated=bool(flaw), size=size, flaw=flaw, text=kept)


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
