"""A listen verb being carried out: the platform's end with a caller and a clock (LP-END, LP-TIME).

There are two clocks. Captured audio (:meth:`ListenTask.capture`) is what the caller says: maxLength
and timeout follow it. Playout (:meth:`ListenTask.play`) is what the caller hears: clips and marks
follow it. In each step of time call ``play`` first, so that what is due is sent before captured
audio ends the listen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

from listenproto._errors import LocalProtocolError
from listenproto._heard import Heard, PlayoutGaps
from listenproto._l16 import FLICKS, SAMPLE_BYTES, beep, samples_in
from listenproto._listen_result import ListenEnd, ListenResult
from listenproto._messages import (
    JSON,
    Audio,
    Close,
    Disconnect,
    Dtmf,
    Metadata,
    Mode,
    Payload,
    Peer,
)
from listenproto._platform_session import PlatformEvent, PlatformSession
from listenproto._profile import DOCUMENTED, Profile, profile_of
from listenproto._session import ABNORMAL
from listenproto._silence import Silence
from listenproto._terms import DIGITS
from listenproto._verb import ListenVerb
from listenproto._way import check_verb

__all__ = ["ListenTask"]

MESSAGES_PER_SECOND = 50


class ListenTask:
    """Carries out a listen verb for one call.

    ``attributes`` are those of the call, in camelCase as in the metadata (callSid, direction, from,
    to, …). ``nested_in_dial`` is whether the verb is nested in a dial, ``bidirectional_in_dial``
    whether this platform lets an app send audio there (LP-VERB-3). ``silence`` is the sample value
    below which audio counts as silent (LP-TIME-6). ``max_seconds`` bounds what is buffered for the
    caller (LP-STRM-4). ``keep_passed`` keeps what passes for :meth:`passed`, as for a trace.
    ``profile`` may be given by name.

    Raises :class:`LocalProtocolError` if the metadata would have more than 8192 bytes.
    """

    def __init__(
        self,
        verb: ListenVerb,
        attributes: Mapping[str, JSON],
        *,
        profile: Profile | str = DOCUMENTED,
        nested_in_dial: bool = False,
        bidirectional_in_dial: bool = False,
        silence: int = 256,
        max_seconds: float = 3600.0,
        keep_passed: bool = False,
    ) -> None:
        check_verb(verb)
        self.verb: ListenVerb = verb
        """The verb that is carried out."""
        self.mode: Mode = verb.mode(
            nested_in_dial=nested_in_dial, bidirectional_in_dial=bidirectional_in_dial
        )
        """What the app may send."""
        self._attributes = dict(attributes)
        self.profile: Profile = profile_of(profile)
        self.session: PlatformSession = PlatformSession(
            verb,
            mode=self.mode,
            profile=self.profile,
            max_seconds=max_seconds,
            keep_passed=keep_passed,
        )
        """The platform's end of the conversation."""
        self.metadata: Metadata = Metadata(
            self._attributes | dict(verb.metadata), verb.sample_rate, verb.mix_type
        )
        """The metadata that is sent to the app."""
        self.session.encode_metadata(self.metadata)
        self._connected = False
        self._frame = SAMPLE_BYTES * verb.channels
        self._message = verb.sample_rate // MESSAGES_PER_SECOND * self._frame
        self._partial = bytearray()
        self._silence_in_pause: bool | None = None  # while there is no pause
        self._clock = 0
        self._sent = 0
        self._max_samples = _samples(verb.max_length, verb.sample_rate)
        timeout = None if self.profile.ignores_timeout else verb.timeout
        max_silent = _samples(timeout, verb.sample_rate)
        self._silence = None if max_silent is None else Silence(max_silent, self._frame, silence)
        self._result: ListenResult | None = None
        if verb.play_beep:
            self.session.playout.add_sound(beep(verb.sample_rate), verb.sample_rate)

    @property
    def result(self) -> ListenResult | None:
        """How the listen ended; None while it goes on."""
        return self._result

    @property
    def ended(self) -> bool:
        """Whether the listen has ended."""
        return self._result is not None

    @property
    def left(self) -> bool:
        """Whether this end has closed, and the other end had not closed before."""
        return self.session.left

    @property
    def waiting(self) -> int:
        """How much waits in the outbox: bytes of audio and characters of text."""
        return self.session.waiting

    @property
    def clock(self) -> int:
        """Samples captured since the connection was made, pauses included."""
        return self._clock

    @property
    def buffered(self) -> int:
        """How much the caller still has to hear, in flicks, a beep before connecting included."""
        return self.session.playout.buffered

    @property
    def gaps(self) -> PlayoutGaps:
        """Where the caller heard nothing in the middle of what the app said.

        The app sends its stream too late or too slowly, or at another rate than the verb's. See
        :class:`PlayoutGaps` for what counts.
        """
        return self.session.playout.gaps

    def connected(self) -> None:
        """The WebSocket is open: send the metadata.

        The rest of a beep is not heard (LP-VERB-6). After a hang-up, does nothing.
        """
        if self.ended:
            return
        self.session.playout.flush()
        self.session.send(self.metadata)
        self._connected = True

    def not_connected(self) -> None:
        """The WebSocket could not be opened: the verb is over."""
        self._finish(ListenEnd.NOT_CONNECTED)

    @property
    def sends_audio(self) -> bool:
        """Whether captured audio is sent: not in a pause without silence, nor after the end."""
        return self._silence_in_pause is not False and not self.ended

    def capture(self, pcm: bytes, *, lost: bool = False) -> None:
        """The next audio of the call: L16 at the verb's rate, interleaved in stereo, whole frames.

        It is sent in messages of 20 ms. With ``lost`` it is not sent, as in a pause: for an app
        that does not read, when there is no room. Does nothing once the listen has ended, as that
        may happen at any time. Raises :class:`LocalProtocolError` for an incomplete frame, and
        before :meth:`connected`.
        """
        if len(pcm) % self._frame:
            raise LocalProtocolError(
                f"{len(pcm)} bytes are not a whole number of {self._frame}-byte sample frames",
                clause="LP-AUD-1",
            )
        if self.ended:
            return
        if not self._connected:
            raise LocalProtocolError("audio can only be sent once connected", clause="LP-META-1")
        samples = len(pcm) // self._frame
        sending = self.sends_audio and not lost
        if self._silence_in_pause is not None:
            pcm = bytes(len(pcm))
        left = self._left(sending)
        silent_at = self._silence.ends_at(pcm) if self._silence and sending else None
        ends = [at for at in (left, silent_at) if at is not None and at <= samples]
        taken = min(ends, default=samples)
        self._clock += taken
        if sending:
            self._send(pcm[: taken * self._frame])
        if ends:
            self._end(ListenEnd.MAX_LENGTH if taken == left else ListenEnd.TIMEOUT)

    def _left(self, sending: bool) -> int | None:
        """How many more samples maxLength allows; None if it is not running."""
        if self._max_samples is None:
            return None
        if self.profile.max_length_runs_in_pause:
            return self._max_samples - self._clock
        return self._max_samples - self._sent if sending else None

    def _send(self, pcm: bytes) -> None:
        self._sent += len(pcm) // self._frame
        self._partial += pcm
        while len(self._partial) >= self._message:
            self.session.send(Audio(bytes(self._partial[: self._message])))
            del self._partial[: self._message]

    def play(self, flicks: int) -> list[Heard]:
        """Play the next ``flicks`` to the caller; returns the audio, its rates and exact times."""
        return self.session.play(flicks)

    def key(self, digit: str, *, duration: int = 800) -> None:
        """The caller pressed a key, for ``duration`` RTP timestamp units of 1/8000 s.

        Raises :class:`LocalProtocolError` for anything but a key.
        """
        if len(digit) != 1 or digit not in DIGITS:
            raise LocalProtocolError(
                f"{digit!r:.60} is not a key; the keys are {DIGITS}", clause="LP-DTMF-3"
            )
        if self.ended or not self._connected or self.session.observer.verb_ended:
            return
        ending = self.verb.finish_on_key
        ends = digit == ending or (digit in ending and not self.profile.finish_on_whole_string)
        if ends:
            self._send_rest()
        if self.verb.pass_dtmf:
            self.session.send(Dtmf(digit, duration))
        if ends:
            self._end(ListenEnd.KEY, digit)

    def pause(self, *, silence: bool = False) -> None:
        """Stop sending captured audio, or send silence for it, until :meth:`resume` (LP-TIME-7)."""
        self._silence_in_pause = silence

    def resume(self) -> None:
        """Send captured audio again."""
        self._silence_in_pause = None

    def hang_up(self) -> None:
        """The caller hangs up. Does nothing once the listen has ended."""
        if not self.ended:
            self._end(ListenEnd.HANGUP)

    def _send_rest(self) -> None:
        """Send the rest of the audio, less than a whole message."""
        if self._partial and not self.session.ended:
            self.session.send(Audio(bytes(self._partial)))
        self._partial.clear()

    def _end(self, end: ListenEnd, digits: str | None = None) -> None:
        self._send_rest()
        self.session.close()
        self._finish(end, digits)

    def _finish(self, end: ListenEnd, digits: str | None = None) -> None:
        if self._result is None:
            end = end if self._connected else ListenEnd.NOT_CONNECTED
            duration = self._clock // self.verb.sample_rate if self._connected else None
            if self.session.observer.verb_ended:  # LP-END-17: the actionHook was posted then
                end, duration, digits = ListenEnd.ERROR, None, None
            self._result = ListenResult(
                end=end, duration=duration, digits=digits, attributes=self._attributes
            )

    # The methods of a session, for whatever drives one.

    def receive(self, payload: str | bytes) -> list[PlatformEvent]:
        """Take one WebSocket message of the app and act on it; returns what it was."""
        events = self.session.receive(payload)
        if self.session.left and any(isinstance(event, Disconnect) for event in events):
            self._finish(ListenEnd.DISCONNECT)
        return events

    @property
    def has_data_to_send(self) -> bool:
        """Whether there is anything in the outbox."""
        return self.session.has_data_to_send

    def data_to_send(self) -> Iterator[Payload]:
        """The payloads to be sent, in order; each is removed from the outbox as it is returned."""
        return self.session.data_to_send()

    def take(self, limit: int) -> list[Payload]:
        """The same in a list, of about ``limit`` bytes and characters."""
        return self.session.take(limit)

    def passed(self) -> Iterator[tuple[Peer, Payload]]:
        """With ``keep_passed``: what passed here since the last call, sender and payload."""
        return self.session.passed()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the WebSocket for a reason outside the protocol."""
        self.session.close(code, reason)
        self._finish(ListenEnd.HANGUP if code == 1000 else ListenEnd.ERROR)

    def closed(self, code: int = 1000, reason: str = "") -> list[PlatformEvent | Close]:
        """The app's close has come. Code 1006 means :meth:`connection_lost`."""
        self._finish(ListenEnd.LOST if code == ABNORMAL else ListenEnd.APP_CLOSED)
        return [*self.session.closed(code, reason)]

    def connection_lost(self) -> list[PlatformEvent]:
        """The connection is lost without a close."""
        self._finish(ListenEnd.LOST)
        return self.session.connection_lost()


def _samples(seconds: float | None, rate: int) -> int | None:
    if seconds is None:
        return None
    return max(1, samples_in(round(Fraction(seconds) * FLICKS), rate))
