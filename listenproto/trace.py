"""A call on record: JSON lines, written and read back (``spec/trace.md``).

The first line is the header; each further line is one message as it passed at the recording end:
who sent it, when (microseconds since the start), where playout stood (samples at the listen
rate), and the text, or the audio as base64 or as its byte count.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

import attrs

from listenproto.codec import decode, decode_opening
from listenproto.messages import JSON, Close, Message, Metadata, Mode, Payload, Peer
from listenproto.observer import Observer, Violation
from listenproto.profile import PROFILES
from listenproto.verb import ListenVerb, VerbError

__all__ = ["FORMAT", "Header", "Line", "Trace", "TraceError", "judge_trace", "read_trace"]

FORMAT = 1


class TraceError(ValueError):
    """A trace cannot be read; the message names the line and what is wrong with it."""


@attrs.frozen(kw_only=True)
class Header:
    """What a trace is of: which end saw it, with which verb or mode, profile and call."""

    vantage: Peer
    way: ListenVerb | Mode
    profile: str = "documented"
    attributes: Mapping[str, JSON] = MappingProxyType({})

    def to_json(self) -> str:
        """The first line of the trace, without the line's end."""
        if isinstance(self.way, Mode):
            way: dict[str, JSON] = {"mode": self.way.value}
        else:
            way = {"verb": attrs.evolve(self.way, ws_auth=None).to_json()}  # no passwords on record
        head = {"trace": FORMAT, "vantage": self.vantage.value, "profile": self.profile}
        return _dumps(head | way | {"attributes": dict(self.attributes)})


@attrs.frozen
class Line:
    """One message: ``at`` in microseconds, ``position`` in samples at the listen rate.

    A binary payload whose audio was left out is that many zero bytes. ``lost`` in place of a
    payload says that the connection was gone without a close.
    """

    at: int
    sender: Peer
    position: int
    payload: Payload | None

    def to_json(self, *, with_audio: bool = True) -> str:
        """The line, without its end."""
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
        elif self.payload is None:
            line["lost"] = True
        elif with_audio:
            line["audio"] = base64.b64encode(self.payload).decode()
        else:
            line["bytes"] = len(self.payload)
        return _dumps(line)


@attrs.frozen
class Trace:
    """A whole call on record."""

    header: Header
    lines: tuple[Line, ...]


def _dumps(value: JSON) -> str:
    return json.dumps(value, separators=(",", ":"))


def read_trace(text: Iterable[str]) -> Trace:
    """Read the lines of a trace. Raises :class:`TraceError` for the first that is wrong."""
    header: Header | None = None
    lines: list[Line] = []
    for number, line in enumerate(text, 1):
        try:
            obj = json.loads(line)
            if not isinstance(obj, dict):
                raise ValueError("a JSON object was expected")
            if header is None:
                header = _read_header(obj)
            else:
                lines.append(_read_line(obj))
        except (ValueError, RecursionError) as exc:
            raise TraceError(f"line {number} is no line of a trace: {exc}") from exc
    if header is None:
        raise TraceError("line 1 is missing: a trace starts with its header")
    return Trace(header, tuple(lines))


def _read_header(obj: dict[str, JSON]) -> Header:
    if obj.get("trace") != FORMAT:
        raise ValueError(
            f"'trace' must be {FORMAT}, the format's version, not {obj.get('trace')!r}"
        )
    if obj.get("profile") not in PROFILES:
        raise ValueError(f"'profile' must be one of {', '.join(PROFILES)}")
    attributes = obj.get("attributes", {})
    if not isinstance(attributes, dict):
        raise ValueError("'attributes' must be a JSON object")
    try:
        way = ListenVerb.from_json(obj["verb"]) if "verb" in obj else Mode(obj.get("mode"))
        vantage = Peer(obj.get("vantage"))
    except VerbError as exc:
        raise ValueError(f"'verb' is no listen verb: {exc}") from exc
    return Header(vantage=vantage, way=way, profile=obj["profile"], attributes=attributes)


def _count(obj: dict[str, JSON], key: str) -> int:
    value = obj.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{key!r} must be a whole number, not {value!r}")
    return value


def _read_line(obj: dict[str, JSON]) -> Line:
    return Line(
        _count(obj, "at"), Peer(obj.get("from")), _count(obj, "position"), _read_payload(obj)
    )


def _read_payload(obj: dict[str, JSON]) -> Payload | None:
    text, audio = obj.get("text"), obj.get("audio")
    if isinstance(text, str):
        return text
    if isinstance(audio, str):
        try:
            return binascii.a2b_base64(audio, strict_mode=True)
        except binascii.Error as exc:
            raise ValueError(f"'audio' is no base64: {exc}") from exc
    if "bytes" in obj:
        return bytes(_count(obj, "bytes"))
    if "close" in obj:
        return Close(_count(obj, "close"), str(obj.get("reason", "")))
    if obj.get("lost") is True:
        return None
    raise ValueError("one of 'text', 'audio', 'bytes', 'close' and 'lost' must be there")


def _messages(line: Line, *, opening: bool, string_sample_rate: int | None) -> list[Message]:
    if isinstance(line.payload, Close):
        return [line.payload]
    if line.payload is None:
        return []
    if opening and line.sender is Peer.PLATFORM:
        return decode_opening(line.payload)
    return decode(line.payload, line.sender, string_sample_rate=string_sample_rate)


def messages_of(trace: Trace) -> Iterator[tuple[int, Line, Message]]:
    """Each message of a trace, with its line and that line's number in the file."""
    profile = PROFILES[trace.header.profile]
    opening = True
    for number, line in enumerate(trace.lines, 2):
        for message in _messages(
            line, opening=opening, string_sample_rate=profile.string_sample_rate
        ):
            yield number, line, message
            opening = opening and not isinstance(message, Metadata)


def judge_trace(trace: Trace, *, vantage: Peer | None = None) -> list[tuple[int, Violation]]:
    """Each breach on record, with the number of its line in the file."""
    observer = Observer(
        trace.header.way,
        profile=PROFILES[trace.header.profile],
        vantage=vantage or trace.header.vantage,
    )
    found: list[tuple[int, Violation]] = []
    for number, line, message in messages_of(trace):
        found += [(number, violation) for violation in observer.see(line.sender, message)]
    return found
