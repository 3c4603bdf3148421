"""A state machine that tests any platform against the protocol."""

from __future__ import annotations

from typing import ClassVar, Final

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from listenproto._app_session import AppSession
from listenproto._errors import LocalProtocolError
from listenproto._l16 import FLICKS, PLAY_RATES, SAMPLE_BYTES
from listenproto._messages import (
    Audio,
    ClearMarks,
    Disconnect,
    KillAudio,
    Mark,
    Message,
    Mode,
    Peer,
    PlayAudio,
    UnknownMessage,
)
from listenproto._profile import Profile
from listenproto._task import ListenTask
from listenproto._verb import ListenVerb
from listenproto._wav import wav_header
from listenproto.codec import encode
from listenproto.testing.call_machine import CallMachine, texts_without_meaning
from listenproto.testing.compared import Compared
from listenproto.testing.exchange import (
    AppUnderTest,
    Exchange,
    PlatformUnderTest,
)
from listenproto.testing.messages import (
    app_messages,
    mark_names,
    unknown_messages,
)

__all__ = ["PlatformMachine"]

AT_ONCE: Final = 5 * FLICKS
"""How much is played out in one go at most, so that an example does not take long."""

_MOMENTS: Final = st.integers(0, FLICKS // 4)

SOUND_SAMPLES: Final = 2**16
_SOUND: Final = b"".join(
    (n * 40_503 % SOUND_SAMPLES).to_bytes(SAMPLE_BYTES, "little") for n in range(SOUND_SAMPLES)
)


class PlatformMachine(CallMachine):
    """Tests a platform against the protocol: :meth:`make_platform` returns yours, for one call.

    The app plays clips or streams with marks, kills, clears, disconnects, closes, and sends odd
    messages, which a platform must survive (LP-ODD-4). What the platform sends, and what it reports
    as heard, is compared with :meth:`make_reference`.
    """

    under_test: ClassVar[frozenset[Peer]] = frozenset({Peer.PLATFORM})
    """The platform alone."""
    odd_messages: ClassVar[bool] = True
    """Whether the app also sends what is not allowed, too much, and incomplete samples."""

    reference: PlatformUnderTest | None = None
    """What :meth:`make_reference` returned for this call."""

    _sound_at = 0
    _odd_clips = 0

    def make_app(self, verb: ListenVerb, profile: Profile) -> AppUnderTest:
        return AppSession(mode=verb.mode(), profile=profile)

    def make_reference(self, verb: ListenVerb, profile: Profile) -> PlatformUnderTest | None:
        """What to compare with, to the sample; None for a platform whose timing is not exact."""
        return ListenTask(verb, {}, profile=profile)

    def make_exchange(self) -> Exchange:
        exchange = super().make_exchange()
        self.reference = self.make_reference(self.verb, self.profile)
        if self.reference is not None:
            exchange.platform = Compared(
                exchange.platform, self.reference, mode=self.mode, profile=self.profile
            )
        return exchange

    @property
    def app(self) -> AppSession:
        """The app that the platform is connected to."""
        app = self.exchange.app
        assert isinstance(app, AppSession)
        return app

    @property
    def may_talk(self) -> bool:
        """Whether the app has read the metadata and has not ended."""
        return self.app.metadata is not None and not self.app.ended

    def say(self, message: Message) -> bool:
        """Let the app send a message; returns False if the app refuses to."""
        self.moves_left -= 1
        try:
            self.app.send(message)
        except LocalProtocolError as error:
            note(f"the app does not send {message}: {error}")
            return False
        self.exchange.collect()
        return True

    def sound(self, samples: int) -> bytes:
        """The next ``samples`` of a sound that takes long to repeat itself."""
        start, self._sound_at = self._sound_at, (self._sound_at + samples) % SOUND_SAMPLES
        return _SOUND[SAMPLE_BYTES * start :][: SAMPLE_BYTES * samples]

    @precondition(lambda self: self.mode is Mode.CLIPS and self.may_talk)
    @rule(
        samples=st.integers(0, 2000) | st.sampled_from([8000, 16000, 32000]),
        rate=st.sampled_from(PLAY_RATES),
        wav=st.booleans(),
        queue=st.sampled_from([None, None, True, False]),
    )
    def play(self, samples: int, rate: int, wav: bool, queue: bool | None) -> None:
        """The app sends a clip of ``samples`` samples at ``rate`` Hz, raw or as a WAV file."""
        pcm = self.sound(samples)
        if wav:
            content = wav_header(len(pcm), rate, 1) + pcm
            self.say(PlayAudio(content, "wav", queue_play=queue))
        else:
            self.say(PlayAudio(pcm, sample_rate=rate, queue_play=queue))

    @precondition(lambda self: self.mode is Mode.CLIPS and self.may_talk)
    @rule(number=st.integers(2, 14))
    def play_many(self, number: int) -> None:
        """The app sends many short clips at once."""
        for _ in range(number):
            self.say(PlayAudio(self.sound(160), sample_rate=8000))

    @precondition(lambda self: self.mode is Mode.STREAMING and self.may_talk)
    @rule(samples=st.integers(0, 4000) | st.just(24000))
    def stream(self, samples: int) -> None:
        """The app sends a piece of its stream."""
        self.say(Audio(self.sound(samples)))

    @precondition(lambda self: self.mode is Mode.STREAMING and self.may_talk)
    @rule(name=st.just("again") | mark_names())
    def mark(self, name: str) -> None:
        """The app sends a mark."""
        self.say(Mark(name))

    @precondition(lambda self: self.mode is Mode.STREAMING and self.may_talk)
    @rule(number=st.integers(2, 34))
    def mark_many(self, number: int) -> None:
        """The app sends many marks at once."""
        for index in range(number):
            self.say(Mark(f"m{index}"))

    @precondition(lambda self: self.mode is not Mode.OFF and self.may_talk)
    @rule()
    def kill(self) -> None:
        """The app sends a killAudio."""
        self.say(KillAudio())

    @precondition(lambda self: self.mode is Mode.STREAMING and self.may_talk)
    @rule(number=st.integers(1, 3), samples=st.integers(0, 2000))
    def stream_and_mark(self, number: int, samples: int) -> None:
        """The app sends pieces of its stream, with a mark behind each."""
        for index in range(number):
            self.say(Audio(self.sound(samples)))
            self.say(Mark(f"s{index}"))

    @precondition(lambda self: self.mode is not Mode.OFF and self.may_talk)
    @rule(number=st.integers(1, 3), heard=_MOMENTS, clears=st.booleans(), then=_MOMENTS)
    def take_back(self, number: int, heard: int, clears: bool, then: int) -> None:
        """What was sent is killed, or its marks are cleared, after a little of it was heard."""
        if self.mode is Mode.STREAMING:
            self.stream_and_mark(number, 2000)
        else:
            for _ in range(number):
                self.say(PlayAudio(self.sound(800), sample_rate=8000))
        self.exchange.deliver_all()
        self.hear(heard)
        self.say(ClearMarks() if clears and self.mode is Mode.STREAMING else KillAudio())
        self.exchange.deliver_all()
        self.hear(then)

    @precondition(lambda self: 1 < self.left_to_hear <= AT_ONCE)
    @rule()
    def hear_all(self) -> None:
        """Exact to the flick: nothing is over one flick before the end, and all is at the end."""
        if self.mode is Mode.STREAMING and self.may_talk:
            self.say(Mark("last"))
        self.exchange.deliver_all()
        self.hear(self.left_to_hear - 1)
        self.hear(1)

    @property
    def left_to_hear(self) -> int:
        """How much is still to be heard, in flicks, if our own platform is the reference."""
        return self.reference.buffered if isinstance(self.reference, ListenTask) else 0

    @precondition(lambda self: self.mode is Mode.STREAMING and self.may_talk)
    @rule()
    def clear_marks(self) -> None:
        """The app sends a clearMarks."""
        self.say(ClearMarks())

    @precondition(lambda self: self.may_talk)
    @rule(message=unknown_messages())
    def say_something_unknown(self, message: UnknownMessage) -> None:
        """The app sends a JSON object that the protocol does not know."""
        self.say(message)

    @precondition(lambda self: self.may_end and self.may_talk)
    @rule()
    def disconnect(self) -> None:
        """The app sends a disconnect."""
        self.say(Disconnect())

    @precondition(lambda self: self.may_end and self.may_talk)
    @rule(code=st.sampled_from([1000, 1011]))
    def close(self, code: int) -> None:
        """The app closes the WebSocket."""
        self.app.close(code)
        self.exchange.collect()

    @precondition(lambda self: self.odd_texts and self.may_talk)
    @rule(text=texts_without_meaning(Peer.APP))
    def say_something_odd(self, text: str) -> None:
        """The app sends a text that is not a message of the protocol."""
        self.exchange.put(Peer.APP, text)

    @precondition(lambda self: self.odd_messages and self.may_talk)
    @rule(message=app_messages())
    def say_anything(self, message: Message) -> None:
        """Any message, allowed now or not; ids and names may repeat."""
        self.exchange.put(Peer.APP, encode(message, Peer.APP))

    @precondition(lambda self: self.odd_messages and self.mode is Mode.STREAMING)
    @rule(size=st.integers(0, 400))
    def stream_half_samples(self, size: int) -> None:
        """A message may end inside a sample (LP-AUD-3)."""
        self.exchange.put(Peer.APP, self.sound(size)[:size])

    @precondition(lambda self: self.odd_messages and self.mode is Mode.CLIPS)
    @rule(number=st.integers(2, 16), size=st.integers(0, 800))
    def play_too_many(self, number: int, size: int) -> None:
        """More clips than can wait (LP-CLIP-4), which may end inside a sample (LP-CLIP-17)."""
        for _ in range(number):
            self._odd_clips += 1
            pcm = self.sound(size)[:size]
            clip = PlayAudio(pcm, "raw", 8000, f"odd-{self._odd_clips}", True)
            self.exchange.put(Peer.APP, encode(clip, Peer.APP))

    def make_last_moves(self) -> None:
        super().make_last_moves()
        for clears in (False, True):
            if self.mode is not Mode.OFF and self.may_talk:
                self.take_back(3, FLICKS // 50, clears, FLICKS)
        if self.mode is Mode.CLIPS and self.may_talk:
            self.play_many(3)
        elif self.mode is Mode.STREAMING and self.may_talk:
            self.stream_and_mark(1, 2000)
        self.exchange.deliver_all()
        if self.left_to_hear:
            self.hear_all()
        if self.odd_messages and self.mode is Mode.CLIPS and self.may_talk:
            self.play_too_many(13, 100)

    def check_that_nothing_waits(self) -> None:
        super().check_that_nothing_waits()
        observer = self.exchange.observers[Peer.PLATFORM]
        clips, marks = observer.outstanding_clips, observer.pending_marks
        assert not clips, f"LP-CLIP-23: all has played, but {clips} playDones have not come"
        lost = self.profile.plays_in_frames
        assert lost or not marks, (
            f"LP-MARK-8: all has played, but {marks} mark events have not come"
        )
