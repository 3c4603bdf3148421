"""A recorded call: JSON lines, written and read back (``spec/trace.md``).

The first line is the header. Each further line is one message as it passed at the recording end:
who sent it, when (microseconds since the start), the media position (samples at the verb's
``sampleRate``), and the text, or the audio as base64 or as its number of bytes.
"""

from __future__ import annotations

import base64
import enum
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs

from listenproto._bodies import read_base64
from listenproto._choices import chosen, member, one_of
from listenproto._framing import DEFAULT_MAX_MESSAGE
from listenproto._frozen import FrozenMapping
from listenproto._jsontext import DECODER
from listenproto._messages import (
    JSON,
    Close,
    Message,
    Metadata,
    Mode,
    Payload,
    Peer,
)
from listenproto._profile import DOCUMENTED, PROFILES, Profile
from listenproto._terms import sender_of
from listenproto._verb import ListenVerb
from listenproto._verb_options import VerbError
from listenproto._way import way_of
from listenproto.codec import decode, decode_opening

__all__ = [
    "FORMAT",
    "MAX_LINE",
    "Reading",
    "Trace",
    "TraceError",
    "TraceHeader",
    "TraceLine",
    "TraceMoment",
    "messages_of",
    "read_trace",
]

FORMAT: Final = 1

MAX_AUDIO: Final = 2**26
"""The most bytes of audio that a line may have as a number only."""

MAX_LINE: Final = 6 * DEFAULT_MAX_MESSAGE + 2**16
"""The most characters of a line: six for each of a message of control characters, and room for
the rest. Audio in base64 is far shorter."""

MAX_COUNT: Final = 2**60
"""The largest time, in microseconds, and the largest position that a line may have."""


class TraceMoment(enum.Enum):
    """An event of the connection that is not a message: see :class:`TraceLine`."""

    OPEN = "open"
    """The upgrade was accepted."""
    LOST = "lost"
    """The connection was lost without a close."""


class TraceError(ValueError):
    """A trace cannot be read; the message says which line is wrong, and why.

    ``line`` is its number in the file, ``what`` is wrong with it. ``before`` is the trace up to
    that line, or None if the header could not be read. ``cut_short`` is true if a file ends in the
    middle of that line, as when its writer was killed.
    """

    before: Trace | None = None
    cut_short: bool = False

    def __init__(self, line: int, what: str) -> None:
        super().__init__(line, what)
        self.line: int = line
        self.what: str = what

    def __str__(self) -> str:
        where = f"line {self.line}: {self.what}"
        return where if self.before else f"not a trace file ({where})"


def _public(way: ListenVerb | Mode | str) -> ListenVerb | Mode:
    """The mode, or the verb without the options that can contain passwords."""
    way = way_of(way)
    if isinstance(way, Mode):
        return way
    return attrs.evolve(way, action_hook=None, auth=None, transcribe=None, ws_auth=None)


def _vantage(value: Peer | str) -> Peer:
    return member(Peer, value, "vantage")


def _mode(value: Mode | str) -> Mode:
    return member(Mode, value, "mode")


@attrs.frozen(kw_only=True)
class TraceHeader:
    """The header of a trace: which end saw the call, its verb or mode, profile and attributes.

    The verb's ``wsAuth``, ``auth``, ``actionHook`` and ``transcribe`` are left out.
    """

    vantage: Peer = attrs.field(converter=_vantage)
    """Which end saw the call."""
    way: ListenVerb | Mode = attrs.field(converter=_public)
    """The listen verb, or the mode if the verb is not known."""
    mode: Mode | None = attrs.field(default=None, converter=attrs.converters.optional(_mode))
    """The mode, if it is not the one that the verb gives, as in a dial (LP-VERB-3)."""
    profile: str = attrs.field(default="documented", validator=one_of(PROFILES))
    """The name of the profile that the call is judged by."""
    attributes: Mapping[str, JSON] = FrozenMapping({})
    """The attributes of the call; not checked."""

    def to_json(self) -> str:
        """The first line of the trace, without the line break."""
        if isinstance(self.way, Mode):
            way: dict[str, JSON] = {"mode": self.way.value}
        else:
            way = {"verb": self.way.to_json()}
            if self.mode is not None:
                way["mode"] = self.mode.value
        head = {"trace": FORMAT, "vantage": self.vantage.value, "profile": self.profile}
        return _dumps(head | way | {"attributes": dict(self.attributes)})


@attrs.frozen
class TraceLine:
    """A message, or a moment: ``at`` in microseconds, ``position`` in samples at the listen rate.

    If the audio of a binary message was left out, its payload is that many zero bytes.
    """

    at: int
    sender: Peer = attrs.field(converter=sender_of)
    """Who sent it; for a moment, the peer that it is about."""
    position: int
    payload: Payload | TraceMoment
    """The WebSocket message or close, or what happened to the connection."""

    def to_json(self, *, with_audio: bool = True) -> str:
        """The line, without the line break."""
        line: dict[str, JSON] = {
            "at": self.at,
            "from": self.sender.value,
            "position": self.position,
        }
        if isinstance(self.payload, str):
            line["text"] = self.payload
        elif isinstance(self.payload, Close):
            line["close"] = self.payload.code
            line["reason"] = self.payload.reason
        elif isinstance(self.payload, TraceMoment):
            line[self.payload.value] = True
        elif with_audio:
            line["audio"] = base64.b64encode(self.payload).decode()
        else:
            line["bytes"] = len(self.payload)
        return _dumps(line)


@attrs.frozen
class Trace:
    """A recorded call."""

    header: TraceHeader
    """Its first line."""
    lines: tuple[TraceLine, ...]
    """Its other lines, in order."""

    @property
    def messages(self) -> int:
        """How many WebSocket messages passed, closes included."""
        return sum(not isinstance(line.payload, TraceMoment) for line in self.lines)

    @property
    def finished(self) -> bool:
        """Whether the trace has the end of the connection: a close from either end, or its loss."""
        ends = (line.payload for line in self.lines)
        return any(isinstance(end, Close) or end is TraceMoment.LOST for end in ends)


def _dumps(value: JSON) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def read_trace(text: Iterable[str]) -> Trace:
    """Read the lines of a trace. Raises :class:`TraceError` for the first that is wrong.

    A line may have at most 97 MiB, as much as a message of 16 MiB can take.
    """
    header: TraceHeader | None = None
    lines: list[TraceLine] = []
    try:
        for number, line in enumerate(text, 1):
            try:
                obj = _read_object(line)
                if header is None:
                    header = _read_header(obj)
                else:
                    lines.append(_read_line(obj))
            except ValueError as exc:
                raise TraceError(number, str(exc)) from exc
    except TraceError as exc:
        exc.before = None if header is None else Trace(header, tuple(lines))
        raise
    if header is None:
        raise TraceError(1, "the header is missing")
    return Trace(header, tuple(lines))


def _read_object(line: str) -> dict[str, JSON]:
    if len(line) > MAX_LINE:
        raise ValueError(f"longer than {MAX_LINE} characters")
    try:
        obj = DECODER.decode(line)
    except json.JSONDecodeError as exc:
        what = exc.msg.removesuffix(" at").removesuffix(" starting")
        raise ValueError(f"not valid JSON: {what} at character {exc.pos + 1}") from exc
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(obj, dict):
        raise ValueError("not a JSON object")
    return obj


def _read_header(obj: dict[str, JSON]) -> TraceHeader:
    if obj.get("trace") != FORMAT or obj["trace"] is True:
        raise ValueError(
            f"'trace' must be {FORMAT} (the format version), not {obj.get('trace')!r:.40}"
        )
    attributes = obj.get("attributes", {})
    if not isinstance(attributes, dict):
        raise ValueError("'attributes' must be a JSON object")
    try:
        verb = ListenVerb.from_json(obj["verb"]) if "verb" in obj else None
    except VerbError as exc:
        raise ValueError(f"'verb' is not valid: {exc}") from exc
    mode = member(Mode, obj.get("mode"), "'mode'") if verb is None or "mode" in obj else None
    return TraceHeader(
        vantage=member(Peer, obj.get("vantage"), "'vantage'"),
        way=verb or mode or Mode.OFF,
        mode=mode if verb else None,
        profile=chosen(PROFILES, obj.get("profile"), "'profile'"),
        attributes=attributes,
    )


def _count(obj: dict[str, JSON], key: str, most: int = MAX_COUNT) -> int:
    value = obj.get(key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # in JSON, 20000.0 is 20000
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{key!r} must be a whole number, not {value!r:.40}")
    if value > most:
        raise ValueError(f"{key!r} must be at most {most}")
    return value


def _read_line(obj: dict[str, JSON]) -> TraceLine:
    return TraceLine(
        _count(obj, "at"),
        member(Peer, obj.get("from"), "'from'"),
        _count(obj, "position"),
        _read_payload(obj),
    )


def _read_payload(obj: dict[str, JSON]) -> Payload | TraceMoment:
    kinds = ("text", "audio", "bytes", "close", *(moment.value for moment in TraceMoment))
    given = [kind for kind in kinds if kind in obj]
    if len(given) != 1:
        raise ValueError("exactly one of text, audio, bytes, close, open and lost is needed")
    (kind,) = given
    reason = _text(obj, "reason") if "reason" in obj else ""
    if kind == "text":
        return _text(obj, "text")
    if kind == "audio":
        try:
            return read_base64(_text(obj, "audio"))
        except ValueError as exc:
            raise ValueError(f"'audio' is not valid base64: {exc}") from exc
    if kind == "bytes":
        return bytes(_count(obj, "bytes", MAX_AUDIO))
    if kind == "close":
        return Close(_count(obj, "close", 2**16 - 1), reason)
    if obj[kind] is not True:
        raise ValueError(f"{kind!r} must be true, not {obj[kind]!r:.40}")
    return TraceMoment(kind)


def _text(obj: dict[str, JSON], key: str) -> str:
    value = obj[key]
    if not isinstance(value, str):
        raise ValueError(f"{key!r} must be a string, not {value!r:.40}")
    return value


class Reading:
    """Decodes the payloads of one call, in the order in which they pass, under a profile."""

    def __init__(self, profile: Profile = DOCUMENTED) -> None:
        self._rate = profile.string_sample_rate
        self._opening = True

    def messages(
        self, sender: Peer, payload: Payload | TraceMoment
    ) -> Iterator[Message | TraceMoment]:
        """The messages in the next payload, usually one."""
        if isinstance(payload, Close | TraceMoment):
            yield payload
        elif self._opening and sender is Peer.PLATFORM:
            for message in decode_opening(payload, salvage=True):
                self._opening = self._opening and not isinstance(message, Metadata)
                yield message
        else:
            yield from decode(payload, sender, string_sample_rate=self._rate)


def messages_of(trace: Trace) -> Iterator[tuple[int, TraceLine, Message | TraceMoment]]:
    """Each message or moment of a trace, with its line and that line's number in the file."""
    reading = Reading(PROFILES[trace.header.profile])
    for number, line in enumerate(trace.lines, 2):
        for message in reading.messages(line.sender, line.payload):
            yield number, line, message
