"""The application's end of a conversation, message by message."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import attrs

from listenproto.choices import member
from listenproto.codec import decode, decode_opening, mended_clip
from listenproto.errors import LocalProtocolError, RemoteProtocolError
from listenproto.l16 import SAMPLE_BYTES, Aligner
from listenproto.messages import (
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
from listenproto.observer import AppLimits, Observer, Violation
from listenproto.profile import DOCUMENTED, Profile
from listenproto.rules import State
from listenproto.session import ABNORMAL, Session
from listenproto.upgrade import Request
from listenproto.verb import ListenVerb, check_verb

__all__ = ["AppEvent", "AppSession", "ClipDone", "ModeOf", "given_mode", "mode_of"]


@attrs.frozen
class ClipDone:
    """A clip finished, so says a playDone. ``guessed``: it may be another's (LP-CLIP-27)."""

    id: ClipId | None
    guessed: bool
    message: PlayDone


AppEvent: TypeAlias = (
    Metadata | Audio | Dtmf | ClipDone | MarkEvent | UnknownMessage | Violation | Close
)
ModeOf: TypeAlias = Callable[[Request | None, Metadata], Mode | str]
"""How an app knows the mode of a call: by what it put into the URL or the metadata."""


def given_mode(mode: Mode | str | ModeOf) -> Mode | ModeOf:
    """The mode, or the function that tells it. Raises ValueError for anything else."""
    if callable(mode):
        return mode
    return member(Mode, mode, "mode", or_else="a function that tells it")


def mode_of(verb: ListenVerb | None, given: Mode | str | ModeOf | None = None) -> Mode | ModeOf:
    """The mode of the way back, or what tells it: as given, else the verb's, else clips.

    A verb that is nested in a dial has off mode (LP-VERB-3), which only ``given`` can tell. Raises
    ValueError for anything else that the verb does not say itself.
    """
    given = None if given is None else given_mode(given)
    if verb is None:
        return Mode.CLIPS if given is None else given
    check_verb(verb)
    own = verb.mode()
    if given is None:
        return own
    if given is own or given is Mode.OFF:
        return given
    raise ValueError(
        f"mode={given} contradicts the verb, which has {own.value} mode: leave mode out, "
        "or give Mode.OFF where the verb is nested in a dial"
    )


class AppSession(Session):
    """The application's end.

    ``verb`` is the listen verb with which the call is made: the mode of the way back follows from
    it, and what the platform sends that does not fit it is reported (LP-META-7, LP-META-15,
    LP-DTMF-1). Its URL may be relative. ``mode`` is for an app that does not know the verb: the
    mode, or a function of the upgrade request (None where there was none) and the metadata that
    tells it; where that raises, :meth:`receive` does, now and ever after, and there is no metadata.
    Beside a verb only ``Mode.OFF`` says more, for one that is nested in a dial; a mode that
    contradicts the verb raises ValueError. Without either it is clips. Mode and ``profile`` may be
    given by name, as in ``AppSession(mode="streaming")``.

    ``max_clips`` and ``max_marks`` are how many may be under way; None leaves it to the platform
    (LP-CLIP-5, LP-MARK-3). ``queue_clips`` tells deployed platforms to let clips wait in line.
    ``salvage_metadata`` reads the front of metadata that was cut short, instead of failing
    (LP-META-12).
    """

    _peer = Peer.APP
    _aligner: Aligner
    """Of the platform's audio, which the metadata comes in front of."""

    def __init__(
        self,
        *,
        verb: ListenVerb | None = None,
        mode: Mode | str | ModeOf | None = None,
        profile: Profile | str = DOCUMENTED,
        max_clips: int | None = 10,
        max_marks: int | None = 30,
        safe_mark_names: bool = True,
        queue_clips: bool = True,
        salvage_metadata: bool = False,
        keep_passed: bool = False,
    ) -> None:
        super().__init__(keep_passed=keep_passed)
        self._mode = mode_of(verb, mode)
        self._error: Exception | None = None
        self._queue_clips = queue_clips
        self.salvages_metadata = salvage_metadata
        self._clips_sent = 0
        self.request: Request | None = None
        self.metadata: Metadata | None = None
        self.samples_received = 0
        """How many samples of each channel have come."""
        known = self._mode if isinstance(self._mode, Mode) else None
        self.observer = Observer(
            known if verb is None else verb,
            mode=known,
            profile=profile,
            vantage=Peer.APP,
            limits=AppLimits(clips=max_clips, marks=max_marks, safe_mark_names=safe_mark_names),
        )

    @property
    def mode(self) -> Mode | None:
        """The mode of the way back; None where it is still to be told."""
        return self.observer.mode

    def receive(self, payload: str | bytes) -> list[AppEvent]:
        """Take one WebSocket message of the platform; gives what it means.

        Audio comes as whole sample frames (LP-AUD-3); what was wrong comes as
        :class:`~listenproto.observer.Violation`, and the session goes on. What comes behind this
        end's own close means nothing any more (LP-END-7). Raises
        :class:`RemoteProtocolError`, now and ever after, where there is no metadata to go on with.
        """
        if self._error is not None:
            raise self._error.with_traceback(None)  # it would grow, and hold every payload
        self._note(Peer.PLATFORM, payload)
        if self.observer.states[Peer.APP] is State.CLOSED:
            return []
        if self.metadata is None:
            messages = decode_opening(payload, salvage=self.salvages_metadata)
        else:
            messages = decode(payload, Peer.PLATFORM)
        if len(messages) == 1:
            return self._take(messages[0])
        return [event for message in messages for event in self._take(message)]

    def _take(self, message: Message) -> list[AppEvent]:
        observer = self.observer
        if isinstance(message, Metadata) and not isinstance(self._mode, Mode):
            refused = any(v.dropped for v in observer.judge(Peer.PLATFORM, message))
            if not refused:  # LP-ODD-4: what is dropped is not even asked about
                observer.mode = self._told_by(self._mode, message)
        match = observer.clips.match(message.id) if isinstance(message, PlayDone) else None
        violations = observer.see(Peer.PLATFORM, message)
        for violation in violations:
            if violation.fatal:
                self._error = RemoteProtocolError(
                    violation.reason, clause=violation.clause, close_code=violation.close_code
                )
                raise self._error
        if isinstance(message, Audio) and not violations:
            pcm = self._aligner.whole(message.pcm)
            self.samples_received += len(pcm) // self._aligner.unit
            if pcm is message.pcm:
                return [message] if pcm else []
            return [Audio(pcm)] if pcm else []
        events: list[AppEvent] = [*violations]
        if any(violation.dropped for violation in violations):
            return events
        if isinstance(message, Metadata):
            self.metadata = message
            self._aligner = Aligner(SAMPLE_BYTES * message.mix_type.channels)
        elif isinstance(message, PlayDone):
            assert match is not None  # one that stands for no clip has been dropped
            return [*events, ClipDone(match.id, match.guessed, message)]
        assert isinstance(message, Metadata | Dtmf | MarkEvent | UnknownMessage)
        return [*events, message]

    def _told_by(self, mode_of: ModeOf, metadata: Metadata) -> Mode:
        """The mode, asked for before anything of the metadata is kept: it may fail."""
        try:
            told = mode_of(self.request, metadata)
            return member(Mode, told, "the mode that a function tells")
        except Exception as exc:
            exc.add_note(f"the mode of call {metadata.call_sid!r} was asked for")
            self._error = exc
            raise

    def send(self, message: Message) -> Message:
        """Put a message into the outbox; gives it as it goes out, a clip with its id.

        A WAV clip goes out with the right length in its header, whatever stood there (LP-CLIP-31).
        Raises :class:`LocalProtocolError` for one that may not be sent now; nothing has changed
        then. Audio must be whole samples.
        """
        clips_sent = self._clips_sent
        if isinstance(message, PlayAudio):
            if message.id is None:
                clips_sent += 1
                while self.observer.clips.holds(f"clip-{clips_sent}"):
                    clips_sent += 1
                message = attrs.evolve(message, id=f"clip-{clips_sent}")
            if message.queue_play is None and self._queue_clips:
                message = attrs.evolve(message, queue_play=True)
            message = mended_clip(message)
        self._check(message)
        if isinstance(message, Audio) and len(message.pcm) % SAMPLE_BYTES:
            raise LocalProtocolError(
                f"{len(message.pcm)} bytes are no whole number of samples", clause="LP-AUD-6"
            )
        self._commit(message)
        self._clips_sent = clips_sent
        return message

    def closed(self, code: int = 1000, reason: str = "") -> list[AppEvent]:
        """The platform's close has come; what it leaves unanswered is lost.

        1006, by which WebSocket libraries tell that there was no close, is :meth:`connection_lost`.
        """
        if code == ABNORMAL:
            return [*self.connection_lost()]
        return [*self._closed(code, reason), Close(code, reason)]
