"""A call as a ladder of messages: one line for each text, one for each stretch of audio."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from listenproto.l16 import SAMPLE_BYTES
from listenproto.messages import (
    Audio,
    Close,
    Dtmf,
    Malformed,
    Mark,
    MarkEvent,
    Message,
    Metadata,
    MixType,
    Peer,
    PlayAudio,
    PlayDone,
    UnknownMessage,
)
from listenproto.trace import Moment, Trace, messages_of
from listenproto.verb import ListenVerb

__all__ = ["ladder"]

WIDTH: Final = 30


class _Stretch:
    """Audio of one peer since the last text of either."""

    def __init__(self) -> None:
        self.messages = 0
        self.size = 0
        self.since = 0

    def add(self, at: int, size: int) -> None:
        if not self.messages:
            self.since = at
        self.messages += 1
        self.size += size


def ladder(trace: Trace) -> Iterator[str]:
    """The lines of the ladder: the platform on the left, the app on the right, 80 columns."""
    yield f"{'time':>8}  {'platform':<{WIDTH}}      {'app':<{WIDTH}}".rstrip()
    bytes_a_second = dict.fromkeys(Peer, 8000 * SAMPLE_BYTES)
    way = trace.header.way
    if isinstance(way, ListenVerb):
        bytes_a_second[Peer.APP] = SAMPLE_BYTES * (way.stream_rate or 8000)
    stretches = {peer: _Stretch() for peer in Peer}
    for _, line, message in messages_of(trace):
        if isinstance(message, Moment):
            if message is Moment.LOST:
                yield from _flush(stretches, bytes_a_second)
                yield _rung(line.at, line.sender, "connection lost")
            continue
        if isinstance(message, Audio):
            stretches[line.sender].add(line.at, len(message.pcm))
            continue
        if isinstance(message, Metadata):
            channels = message.mix_type.channels
            bytes_a_second[Peer.PLATFORM] = SAMPLE_BYTES * channels * message.sample_rate
        yield from _flush(stretches, bytes_a_second)
        yield _rung(line.at, line.sender, describe(message))
    yield from _flush(stretches, bytes_a_second)


def _flush(stretches: dict[Peer, _Stretch], bytes_a_second: dict[Peer, int]) -> Iterator[str]:
    for peer, stretch in sorted(stretches.items(), key=lambda item: item[1].since):
        if stretch.messages:
            seconds = stretch.size / bytes_a_second[peer]
            text = f"audio {seconds:.2f} s"
            if stretch.messages > 1:
                text += f" in {stretch.messages} messages"
            yield _rung(stretch.since, peer, text)
            stretches[peer] = _Stretch()


def _rung(at: int, sender: Peer, text: str) -> str:
    if len(text) > WIDTH:
        text = text[: WIDTH - 1] + "…"
    time = f"{at / 1_000_000:8.3f}"
    if sender is Peer.PLATFORM:
        return f"{time}  {text:<{WIDTH}} ──▶"
    return f"{time}  {'':<{WIDTH}} ◀── {text}"


def describe(message: Message) -> str:
    """A message in a few words."""
    if isinstance(message, Metadata):
        mix = "" if message.mix_type is MixType.MONO else f" {message.mix_type.value}"
        return f"metadata {message.sample_rate} Hz{mix}"
    if isinstance(message, Dtmf):
        return f"dtmf {message.digit}"
    if isinstance(message, PlayDone):
        return "playDone" if message.id is None else f"playDone {message.id}"
    if isinstance(message, MarkEvent):
        return f"mark {message.name} {message.event}"
    if isinstance(message, Mark):
        return f"mark {message.name}"
    if isinstance(message, PlayAudio):
        size = f"{len(message.content)} bytes"
        return f"playAudio {message.id or ''} {message.content_type} {size}".replace("  ", " ")
    if isinstance(message, Close):
        return f"close {message.code} {message.reason}".rstrip()
    if isinstance(message, Malformed):
        return f"malformed: {message.reason}"
    if isinstance(message, UnknownMessage):
        return f"unknown {message.type or 'message'}"
    name = type(message).__name__
    return name[0].lower() + name[1:]
