"""A call as a ladder of messages: a line for each text, and one for each stretch of audio."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from listenproto._l16 import SAMPLE_BYTES, check_stream_rate
from listenproto._messages import (
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
from listenproto._trace import Trace, TraceMoment, messages_of
from listenproto._verb import ListenVerb

__all__ = ["Ladder", "describe", "ladder"]

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


class Ladder:
    """The lines of a call as it goes on: one for each text, one for each stretch of audio.

    ``stream_rate`` is the sample rate of the app's audio in Hz; ValueError for one that no verb
    can have. A stretch is shown when a text follows, or once it lasts ``longest`` microseconds.
    """

    HEAD: Final = f"{'time':>8}  {'platform':<{WIDTH}}      app"

    def __init__(self, stream_rate: int = 8000, *, longest: float = math.inf) -> None:
        check_stream_rate(stream_rate)
        self._bytes_a_second = dict.fromkeys(Peer, SAMPLE_BYTES * stream_rate)
        self._stretches = {peer: _Stretch() for peer in Peer}
        self._longest = longest
        self._opened = False

    def rungs(self, at: int, sender: Peer, message: Message | TraceMoment) -> Iterator[str]:
        """The lines to show now that this message has passed, ``at`` in microseconds."""
        if message is TraceMoment.OPEN:
            return
        if isinstance(message, Audio):
            stretch = self._stretches[sender]
            if stretch.messages and at - stretch.since >= self._longest:
                yield from self.rest()
            self._stretches[sender].add(at, len(message.pcm))
            return
        if isinstance(message, Metadata) and not self._opened:  # LP-META-4: another is dropped
            self._opened = True
            channels = message.mix_type.channels
            bytes_a_second = SAMPLE_BYTES * channels * message.sample_rate
            self._bytes_a_second[Peer.PLATFORM] = bytes_a_second
        yield from self.rest()
        yield _rung(at, sender, describe(message))

    def rest(self) -> Iterator[str]:
        """The stretches of audio that have not been shown yet."""
        for peer, stretch in sorted(self._stretches.items(), key=lambda item: item[1].since):
            if stretch.messages:
                seconds = stretch.size / self._bytes_a_second[peer]
                text = f"audio {seconds:.2f} s"
                if stretch.messages > 1:
                    text += f" in {stretch.messages} messages"
                yield _rung(stretch.since, peer, text)
                self._stretches[peer] = _Stretch()


def ladder(trace: Trace) -> Iterator[str]:
    """The lines of the ladder: the platform on the left, the app on the right, 80 columns."""
    yield Ladder.HEAD
    way = trace.header.way
    rungs = Ladder((isinstance(way, ListenVerb) and way.stream_rate) or 8000)
    for _, line, message in messages_of(trace):
        yield from rungs.rungs(line.at, line.sender, message)
    yield from rungs.rest()


def _fitting(what: str, name: str, rest: str) -> str:
    """The three in a row; the name is shortened if they do not fit."""
    room = WIDTH - len(f"{what}  {rest}")
    if len(name) > room > 1:
        name = f"{name[: room - 1]}…"
    return f"{what} {name} {rest}" if name else f"{what} {rest}"


def _rung(at: int, sender: Peer, text: str) -> str:
    if len(text) > WIDTH:
        text = text[: WIDTH - 1] + "…"
    time = f"{at / 1_000_000:8.3f}"
    if sender is Peer.PLATFORM:
        return f"{time}  {text:<{WIDTH}} ──▶"
    return f"{time}  {'':<{WIDTH}} ◀── {text}"


def describe(message: Message | TraceMoment) -> str:
    """A message in a few words."""
    if isinstance(message, TraceMoment):
        return "connection lost"
    if isinstance(message, Metadata):
        mix = "" if message.mix_type is MixType.MONO else f" {message.mix_type.value}"
        return f"metadata {message.sample_rate} Hz{mix}"
    if isinstance(message, Dtmf):
        return f"dtmf {message.digit}"
    if isinstance(message, PlayDone):
        return "playDone" if message.id is None else f"playDone {message.id}"
    if isinstance(message, MarkEvent):
        return _fitting("mark", message.name, str(message.event))
    if isinstance(message, Mark):
        return f"mark {message.name}"
    if isinstance(message, PlayAudio):
        kind = f"{message.content_type} {len(message.content)} B"
        return _fitting("playAudio", "" if message.id is None else str(message.id), kind)
    if isinstance(message, Close):
        return f"close {message.code} {message.reason}".rstrip()
    if isinstance(message, Malformed):
        return f"malformed: {message.reason}"
    if isinstance(message, UnknownMessage):
        return f"unknown {message.type or 'message'}"
    name = type(message).__name__
    return name[0].lower() + name[1:]
