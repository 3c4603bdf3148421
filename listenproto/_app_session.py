"""The application's end of a conversation, message by message."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Final, TypeAlias

import attrs

from listenproto._choices import member
from listenproto._clip_audio import mended_clip, wav_for_raw
from listenproto._clips import ClipMatch
from listenproto._ends import without_frames
from listenproto._errors import LocalProtocolError, RemoteProtocolError
from listenproto._l16 import PLAY_RATES, SAMPLE_BYTES, Aligner, without_minus_one
from listenproto._messages import (
    Audio,
    ClipId,
    Close,
    Dtmf,
    MarkEvent,
    Message,
    Metadata,
    Mode,
    Peer,
    PlayAudio,
    PlayDone,
    UnknownMessage,
)
from listenproto._observer import AppLimits, Observer
from listenproto._profile import DOCUMENTED, Profile, profile_of
from listenproto._rules import MODES, PeerState
from listenproto._sent import Outcome, Sent, outcome_of
from listenproto._session import ABNORMAL, Session
from listenproto._shown import shown
from listenproto._terms import APP
from listenproto._upgrade import Request
from listenproto._verb import ListenVerb
from listenproto._violation import Violation
from listenproto._way import ModeOf, mode_for
from listenproto.codec import decode, decode_opening

__all__ = ["AppEvent", "AppSession", "PlaybackDone", "check_assumed"]

_CLOSED: Final = PeerState.CLOSED


@attrs.frozen
class PlaybackDone:
    """A clip or a mark has ended; ``sent`` is what :meth:`AppSession.send` returned for it.

    ``message`` is the platform's answer; None if it ended without one, as it was flushed, skipped
    or lost, or timed out. ``guessed``: the playDone may be for another clip (LP-CLIP-27). The event
    comes again if an answer comes late; that changes the outcome only if it was TIMED_OUT.
    """

    sent: Sent = attrs.field(eq=attrgetter("name"))  # so that events can be compared
    outcome: Outcome = attrs.field(converter=outcome_of)
    """How it ended."""
    message: PlayDone | MarkEvent | None = None
    guessed: bool = False
    wrong_pace: str | None = None
    """One sentence, once per call, if the answer shows that the platform plays at another pace than
    computed, as it does if the stream rate is wrong."""

    @property
    def name(self) -> ClipId | None:
        """The clip's id, or the mark's name."""
        return self.sent.name


def check_assumed(value: Metadata | None) -> Metadata | None:
    """What an app may assume; ValueError if no platform could say it."""
    if value is None:
        return None
    if not isinstance(value, Metadata):
        raise ValueError(f"assume must be Metadata or None; it is {shown(value)}")
    if value.sample_rate not in PLAY_RATES:
        allowed = ", ".join(map(str, PLAY_RATES))
        raise ValueError(f"assume.sample_rate must be one of {allowed}; it is {value.sample_rate}")
    return value


AppEvent: TypeAlias = Metadata | Audio | Dtmf | PlaybackDone | UnknownMessage | Violation | Close
"""What :meth:`AppSession.receive` returns: messages of the platform, what was wrong with them, and
the clips and marks that have ended."""


class AppSession(Session):
    """The application's end.

    ``verb`` is the call's listen verb: it gives the mode, and what the platform sends that does not
    fit the verb is reported (LP-META-7, LP-META-15, LP-DTMF-1). Its URL may be relative. ``mode``
    is for an app that does not know the verb: the mode, or a function that returns it, called with
    the upgrade request (None if there was none) and the metadata. If the function raises,
    :meth:`receive` raises the same, then and on every later call, and ``metadata`` stays None.
    With a verb, leave ``mode`` out, or pass ``Mode.OFF`` if the verb is nested in a dial; any mode
    that contradicts the verb raises ValueError. Without either, the mode is clips. ``mode`` and
    ``profile`` may be given by name, as in ``AppSession(mode="streaming")``.

    ``max_clips`` and ``max_marks`` limit the outstanding clips and marks; None leaves the limit to
    the platform (LP-CLIP-5, LP-MARK-3). ``safe_mark_names`` refuses names that deployed platforms
    send back as broken JSON (LP-MARK-6), ``safe_clip_ids`` such ids (LP-CLIP-34). ``raw_as_wav``
    sends raw clips as WAV at rates that the profile's platforms misread (LP-CLIP-33). None leaves
    these two to the profile. ``queue_clips`` tells deployed platforms to queue clips.
    ``stream_rate`` is the sample rate of the app's stream, needed to compute how long it plays: the
    verb's, or 8000, unless given. ``salvage_metadata`` reads what is whole in metadata that is cut
    off or damaged, instead of failing (LP-META-12); None leaves that to the profile. ``assume`` is
    for platforms that send no metadata, or JSON of their own without ``sampleRate`` and
    ``mixType``: it stands for whatever is left out (LP-META-17), as in
    ``assume=Metadata(sample_rate=16000)``.
    ``keep_passed`` keeps what passes for :meth:`passed`, as for a trace.

    Methods take the time as ``now``, in seconds on any clock. It decides when to stop waiting for
    an answer, and how much the caller counts as having heard. Without a clock, leave it out;
    everything else works the same.
    """

    _peer = Peer.APP
    _aligner: Aligner
    """For the platform's audio; set by the metadata, which comes first."""

    def __init__(
        self,
        *,
        verb: ListenVerb | None = None,
        mode: Mode | str | ModeOf | None = None,
        profile: Profile | str = DOCUMENTED,
        max_clips: int | None = 10,
        max_marks: int | None = 30,
        safe_mark_names: bool = True,
        safe_clip_ids: bool | None = None,
        raw_as_wav: bool | None = None,
        replace_minus_one: bool | None = None,
        queue_clips: bool = True,
        stream_rate: int | None = None,
        salvage_metadata: bool | None = None,
        assume: Metadata | None = None,
        keep_passed: bool = False,
    ) -> None:
        super().__init__(keep_passed=keep_passed)
        self._verb = verb
        self._mode = mode_for(verb, mode)
        self._error: Exception | None = None
        self._queue_clips = queue_clips
        profile = profile_of(profile)
        self.salvages_metadata: bool = (
            profile.salvages_metadata if salvage_metadata is None else salvage_metadata
        )
        """Whether what is whole in damaged metadata is read (LP-META-12)."""
        self._assume: Metadata | None = check_assumed(assume)
        if safe_clip_ids is None:
            safe_clip_ids = not profile.escapes_clip_ids
        self._raw_rates = PLAY_RATES if raw_as_wav is False else profile.raw_clip_rates
        self._replaces_minus_one = (
            profile.plays_in_frames if replace_minus_one is None else replace_minus_one
        )
        self._clips_sent = 0
        self.request: Request | None = None
        """The upgrade request; None until it has come, or if there is none."""
        self.metadata: Metadata | None = None
        self.samples_received: int = 0
        """How many samples of each channel have come so far."""
        known = self._mode if isinstance(self._mode, Mode) else None
        self.observer: Observer = Observer(
            known if verb is None else verb,
            mode=known,
            profile=profile,
            vantage=Peer.APP,
            limits=AppLimits(
                clips=max_clips,
                marks=max_marks,
                safe_mark_names=safe_mark_names,
                safe_clip_ids=safe_clip_ids,
            ),
            stream_rate=stream_rate,
        )
        """The observer that judges both ends' messages."""
        self._record = self.observer._record

    @property
    def mode(self) -> Mode | None:
        """The mode; None until a function of the metadata has returned it."""
        return self.observer.mode

    def receive(self, payload: str | bytes, now: float = 0.0) -> list[AppEvent]:
        """Take one WebSocket message of the platform and return its events, and what has ended.

        Audio comes as whole sample frames (LP-AUD-3). What was wrong comes as
        :class:`~listenproto.Violation`, and the session goes on. Messages that come after
        this end's own close are ignored (LP-END-7). Raises :class:`RemoteProtocolError`, then and
        on every later call, if there is no usable metadata.
        """
        if self._error is not None:
            raise self._error.with_traceback(None)  # which would grow, with every payload
        if now > self._record.now:
            self._record.pass_time(now)
        self._note(payload)
        if self.observer.states[APP] is _CLOSED:
            return [*self._ends()]
        if isinstance(payload, bytes) and self.observer.hears(len(payload)):
            heard = self._whole(Audio(payload))
            return [*self._ends(), *heard] if self._record.ended else heard
        if self.metadata is None:
            messages = decode_opening(payload, salvage=self.salvages_metadata, assume=self._assume)
        else:
            messages = decode(payload, Peer.PLATFORM)
        if len(messages) == 1 and not self._record.ended:
            return self._take(messages[0], now)
        return [*self._ends(), *(event for one in messages for event in self._take(one, now))]

    def _take(self, message: Message, now: float) -> list[AppEvent]:
        observer = self.observer
        judgement = observer.judge(Peer.PLATFORM, message)
        violations = judgement.violations
        dropped = bool(violations) and any(violation.dropped for violation in violations)
        # LP-ODD-4: what is dropped has no effect
        if isinstance(message, Metadata) and not isinstance(self._mode, Mode) and not dropped:
            observer.mode = self._told_by(self._mode, message)
        sent = observer.take(Peer.PLATFORM, message, judgement, now)
        for violation in violations:
            if violation.fatal:
                self._error = RemoteProtocolError(
                    violation.reason, clause=violation.clause, close_code=violation.close_code
                )
                raise self._error
        if isinstance(message, Audio) and not violations:
            return self._whole(message)
        events: list[AppEvent] = [*violations]
        if dropped:
            return events
        if isinstance(message, PlayDone | MarkEvent):
            assert sent is not None  # one that stands for nothing has been dropped
            match = judgement.match
            guessed = isinstance(match, ClipMatch) and match.guessed
            events += (end for end in self._ends() if end.sent is not sent)
            assert sent.outcome is not None
            wrong_pace, self._record.wrong_pace = self._record.wrong_pace, None
            return [*events, PlaybackDone(sent, sent.outcome, message, guessed, wrong_pace)]
        if isinstance(message, Metadata):
            self.metadata = message
            self._aligner = Aligner(SAMPLE_BYTES * message.mix_type.channels)
        assert isinstance(message, Metadata | Dtmf | UnknownMessage)
        return [*events, message]

    def _whole(self, message: Audio) -> list[AppEvent]:
        """The audio as whole sample frames; none if it has no whole one."""
        pcm = self._aligner.whole(message.pcm)
        self.samples_received += len(pcm) // self._aligner.unit
        if pcm is message.pcm:
            return [message] if pcm else []
        return [Audio(pcm)] if pcm else []

    def _ends(self) -> Iterator[PlaybackDone]:
        """An event for everything that has ended since the last call."""
        while self._record.ended:
            sent = self._record.ended.pop(0)
            assert sent.outcome is not None
            yield PlaybackDone(sent, sent.outcome)

    @property
    def under_way(self) -> list[Sent]:
        """The clips and marks without an outcome, in the order in which they were sent."""
        return self._record.under_way

    def pass_time(self, now: float) -> None:
        """Set the time, before you call a method that takes none, such as :meth:`closed`."""
        self._record.pass_time(now)

    def next_timeout(self) -> float:
        """When :meth:`handle_timeout` is due; infinite for never, as nothing is under way."""
        return self._record.next_timeout()

    def handle_timeout(self, now: float) -> list[PlaybackDone]:
        """Return what has ended by the time ``now``, or because of what was sent.

        If you call this late or never, :meth:`receive` returns it instead.
        """
        self._record.pass_time(now)
        self._record.expire()
        return [*self._ends()]

    def held_back(self, now: float) -> None:
        """Tell that nothing was read until ``now``, as too much was unread.

        Call it each time. Answers that come late are then not taken for those of a platform that
        plays slowly.
        """
        self._record.pass_time(now)
        self._record.held_back()

    def ahead(self, now: float = 0.0) -> float:
        """Seconds of audio that the caller is still to hear, as far as this end can compute."""
        self._record.pass_time(now)
        return self._record.ahead

    def plays_until(self, now: float = 0.0) -> float:
        """When everything sent has been played, as far as this end can compute; or ``now``."""
        self._record.pass_time(now)
        return max(now, self._record.plays_until)

    def all_heard_by(self, now: float = 0.0) -> float:
        """By when the caller has heard everything sent so far; ``now`` if that is past.

        Clips have been heard when their playDone comes, a stream when the event of a mark after it
        comes. Without such a mark, a stream counts as heard half a second after the time computed
        from the stream rate. Answers make it sooner, so ask again after each.
        """
        self._record.pass_time(now)
        return max(now, self._record.all_heard_by)

    def forget_frames(self) -> None:
        """What the mode function raised was told: from now on hold it without its frames."""
        if self._error is not None and not isinstance(self._error, RemoteProtocolError):
            self._error = without_frames(self._error)

    def _told_by(self, mode_of: ModeOf, metadata: Metadata) -> Mode:
        """Ask the function for the mode before anything of the metadata is kept: it may raise."""
        try:
            told = mode_of(self.request, metadata)
            return member(Mode, told, "the mode function's result")
        except Exception as exc:
            exc.add_note(f"raised by the mode function, for call {metadata.call_sid!r}")
            self._error = exc
            raise

    def _remedy(self, violation: Violation) -> str:
        modes, clause = MODES.get(type(violation.message), (frozenset[Mode](), None))
        if violation.clause != clause:
            return ""
        allowed = " or ".join(sorted(map(str, modes)))
        if self._verb is None:
            if callable(self._mode):
                return f"; the mode function must return {allowed} for this call"
            return f"; pass mode={allowed}, or a verb with that mode"
        if self.mode is self._verb.mode():
            return "; the verb sets the mode: change its bidirectionalAudio"
        return (
            "; Mode.OFF is for a verb nested in a dial: leave mode out if the platform plays the "
            "app's audio there"
        )

    def send(self, message: Message, now: float = 0.0) -> Sent | None:
        """Put a message into the outbox; for a clip or a mark, return what becomes of it.

        A clip is sent with an id, a WAV clip with the right length in its header (LP-CLIP-31), a
        raw clip as WAV if the platforms misread its rate (LP-CLIP-33).
        In a stream, -2 is sent for -1 if the platforms take that sample for a mark.
        Raises :class:`LocalProtocolError` for a message that must not be sent now; nothing has
        changed then. Audio must be whole samples.
        """
        if isinstance(message, Audio) and self._stream(message.pcm, now):
            return None
        clips_sent = self._clips_sent
        if isinstance(message, PlayAudio):
            if message.id is None:
                clips_sent += 1
                while self.observer.holds_clip(f"clip-{clips_sent}"):
                    clips_sent += 1
                message = attrs.evolve(message, id=f"clip-{clips_sent}")
            if message.queue_play is None and self._queue_clips:
                message = attrs.evolve(message, queue_play=True)
            message = mended_clip(wav_for_raw(message, self._raw_rates))
        judgement = self.check(message)
        if isinstance(message, Audio) and len(message.pcm) % SAMPLE_BYTES:
            raise LocalProtocolError(
                f"{len(message.pcm)} bytes are not a whole number of samples", clause="LP-AUD-6"
            )
        sent = self._commit(message, judgement, now=now)
        self._clips_sent = clips_sent
        return sent

    def fill(self, audio: Audio, now: float = 0.0) -> None:
        """Send audio, in whole samples, that does not belong to the app's speech, as silence.

        It takes time to play, but no mark counts it, and nobody has to hear it to the end.
        """
        judgement = self.check(audio)
        self._record.fills = True
        try:
            self._commit(audio, judgement, now=now)
        finally:
            self._record.fills = False

    def _stream(self, pcm: bytes, now: float) -> bool:
        """Send audio, if there is nothing to be said against it; else do nothing."""
        whole = isinstance(pcm, bytes) and not len(pcm) % SAMPLE_BYTES
        if not whole or self._lost or not self.observer.says(len(pcm), now):
            return False
        self._put(without_minus_one(pcm) if self._replaces_minus_one else pcm)
        return True

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection; clips and marks without an answer are lost."""
        super().close(code, reason)
        self._record.lose()

    def closed(self, code: int = 1000, reason: str = "") -> list[AppEvent]:
        """The platform's close has come; clips and marks that are still unanswered are lost.

        Code 1006, with which WebSocket libraries report that there was no close, is taken as
        :meth:`connection_lost`.
        """
        if code == ABNORMAL:
            return self.connection_lost()
        violations = self._closed(code, reason)
        self._record.lose()
        return [*violations, *self._ends(), Close(code, reason)]

    def connection_lost(self) -> list[AppEvent]:
        """The connection is lost without a close; clips and marks without an answer are lost."""
        violations = self._broken()
        self._record.lose()
        return [*violations, *self._ends()]
