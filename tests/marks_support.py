"""A call in memory: an app without IO, and a platform that plays a stream with the marks inside."""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

import attrs

from listenproto import (
    DEPLOYED,
    FLICKS,
    Answering,
    AppCall,
    BidirectionalAudio,
    ClearMarks,
    KillAudio,
    ListenTask,
    ListenVerb,
    Mark,
    Message,
    Outcome,
    Payload,
    Profile,
    Sent,
    Speech,
    Violation,
)
from listenproto._l16 import SAMPLE_BYTES

__all__ = ["LineToDouble", "Utterance"]

LEVEL: Final = 100
"""Each utterance consists of samples of a level of its own, a multiple of this."""


@attrs.define(eq=False)
class Utterance:
    """Something that was said."""

    level: int
    samples: int
    """At the rate of the call."""
    speech: Speech


class LineToDouble:
    """A call in time that is only counted: both ends, and ``delay`` seconds between them."""

    def __init__(
        self,
        rate: int,
        *,
        profile: Profile | str = DEPLOYED,
        delay: float = 0.0,
        step: float = 0.01,
        **options: object,
    ) -> None:
        way = BidirectionalAudio(streaming=True, sample_rate=rate)
        verb = ListenVerb(url="ws://app.example/", bidirectional_audio=way)
        self.rate = rate
        self.task = ListenTask(verb, {}, profile=profile)
        how = Answering(verb=verb, profile=profile, **options)  # type: ignore[arg-type]
        self.call = AppCall(how, now=0.0, over_messages=True)
        self.now = 0.0
        self.step = step
        self.delay = delay
        self.to_app: deque[tuple[float, Payload]] = deque()
        self.to_platform: deque[tuple[float, Payload]] = deque()
        self.heard: Counter[int] = Counter()
        """How many samples of each level the caller has heard."""
        self.said: list[Utterance] = []
        self.marks: list[tuple[Sent, list[Utterance]]] = []
        """Each mark, with what stands in front of it in the stream."""
        self.stream: list[Utterance] = []
        """What was said since the last killAudio."""
        self._sent: list[Payload] = []
        self.task.connected()
        self.wait(2 * delay)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds - 1e-9
        self._pass()
        while self.now < until:
            self.now = round(self.now + self.step, 6)
            flicks = round(self.now * FLICKS) - self.task.session.playout.now
            for piece in self.task.play(flicks):
                self.heard.update(memoryview(piece.pcm).cast("h"))
            self.task.capture(bytes(round(self.step * 8000) * SAMPLE_BYTES))
            self._pass()
            self._check()

    def _pass(self) -> None:
        """Carry what is on its way, and do what is due."""
        call, now = self.call, self.now
        self.to_app += ((now + self.delay, payload) for payload in self.task.data_to_send())
        while self.to_app and self.to_app[0][0] <= now:
            call.receive([self.to_app.popleft()[1]], now)
        if call.next_timeout() <= now:
            call.handle_timeout(now)
        while payloads := call.data_to_send(now):
            self._sent += payloads
            self.to_platform += ((now + self.delay, payload) for payload in payloads)
        while self.to_platform and self.to_platform[0][0] <= now:
            payload = self.to_platform.popleft()[1]
            assert isinstance(payload, str | bytes)
            self.task.receive(payload)
        while (event := call.next_event(now)) is not None:
            assert not isinstance(event, Violation)

    def _check(self) -> None:
        """No mark is called played before the caller has heard what stands in front of it."""
        for mark, before in self.marks:
            if mark.outcome is Outcome.PLAYED:
                assert all(map(self.is_heard, before)), mark

    def is_heard(self, utterance: Utterance) -> bool:
        """Whether the caller has heard all of it; resampling blurs a sample at each end."""
        return self.heard[utterance.level] >= utterance.samples - 2

    def until_ready(self, message: Message) -> None:
        """Wait until it may be sent."""
        while self.call.ready_at(message, self.now) > self.now:
            self.wait(self.step)

    def speak(self, seconds: float, *, lead: float = 0.2) -> Utterance:
        """Say something; returns once all is sent."""
        level = (len(self.said) + 1) * LEVEL
        speech = self.call.speech(lead)
        utterance = Utterance(level, round(seconds * 8000), speech)
        self.said.append(utterance)
        self.stream.append(utterance)
        speech.feed(level.to_bytes(2, "little") * round(seconds * self.rate))
        speech.finish()
        self.until_ready(KillAudio())
        self.call.say(speech, self.now)
        while not speech.over:
            self.wait(self.step)
        return utterance

    def mark(self, name: str) -> Sent:
        """Send a mark behind what was said."""
        self.until_ready(Mark(name))
        mark = self.call.send_if_room(Mark(name), self.now)
        self.marks.append((mark, [*self.stream]))
        self._pass()
        return mark

    def kill(self) -> None:
        """Interrupt what is played."""
        self.call.kill_audio(self.now)
        self.stream.clear()
        self._pass()

    def clear_marks(self) -> None:
        """Remove the marks."""
        self.call.send(ClearMarks(), self.now)
        self._pass()

    def toggle_pause(self) -> None:
        """Stop the caller's audio, or have it go on."""
        if self.task.sends_audio:
            self.task.pause()
        else:
            self.task.resume()

    def take_sent(self) -> list[Payload]:
        """What the app has sent since the last call."""
        taken, self._sent = self._sent, []
        return taken
