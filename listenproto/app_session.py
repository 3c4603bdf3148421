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
from listenproto.profile import DOCUMENTED, Profile, profile_of
from listenproto.rules import MODES, State
from listenproto.session import ABNORMAL, Session
from listenproto.upgrade import Request
from listenproto.verb import ListenVerb, check_verb

__all__ = ["AppEvent", "AppSession", "ClipDone", "ModeOf", "given_mode", "mode_of"]


@attrs.frozen
class ClipDone:
    """A playDone came for a clip. ``guessed``: it may be for another one (LP-CLIP-27)."""

    id: ClipId | None
    guessed: bool
    message: PlayDone


AppEvent: TypeAlias = (
    Metadata | Audio | Dtmf | ClipDone | MarkEvent | UnknownMessage | Violation | Close
)
ModeOf: TypeAlias = Callable[[Request | None, Metadata], Mode | str]
"""Finds the mode of a call from the upgrade request and the metadata."""


def given_mode(mode: Mode | str | ModeOf) -> Mode | ModeOf:
    """The mode, or the function that finds it. Raises ValueError for anything else."""
    if callable(mode):
        return mode
    return member(Mode, mode, "mode", or_else="a function that returns one of these")


def mode_of(verb: ListenVerb | None, given: Mode | str | ModeOf | None = None) -> Mode | ModeOf:
    """The mode, or the function that finds it: ``given``, else the verb's, else clips.

    ``given`` may be off for any verb, as a listen nested in a dial has off mode (LP-VERB-3). Raises
    ValueError for any other that differs from the verb's.
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
        f"mode={given} contradicts the verb, whose mode is {own.value}; leave mode out, "
        "or pass Mode.OFF if the verb is nested in a dial"
    )


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
    send back as broken JSON (LP-MARK-6). ``queue_clips`` tells deployed platforms to queue clips.
    ``salvage_metadata`` reads the beginning of metadata that is cut off or damaged, instead of
    failing (LP-META-12); None leaves that to the profile.
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
        queue_clips: bool = True,
        salvage_metadata: bool | None = None,
        keep_passed: bool = False,
    ) -> None:
        super().__init__(keep_passed=keep_passed)
        self._verb = verb
        self._mode = mode_of(verb, mode)
        self._error: Exception | None = None
        self._queue_clips = queue_clips
        profile = profile_of(profile)
        self.salvages_metadata = (
            profile.salvages_metadata if salvage_metadata is None else salvage_metadata
        )
        self._clips_sent = 0
        self.request: Request | None = None
        self.metadata: Metadata | None = None
        self.samples_received = 0
        """How many samples of each channel have come so far."""
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
        """The mode; None until a function of the metadata has returned it."""
        return self.observer.mode

    def receive(self, payload: str | bytes) -> list[AppEvent]:
        """Take one WebSocket message of the platform and return its events.

        Audio comes as whole sample frames (LP-AUD-3). What was wrong comes as
        :class:`~listenproto.observer.Violation`, and the session goes on. Messages that come after
        this end's own close are ignored (LP-END-7). Raises :class:`RemoteProtocolError`, then and
        on every later call, if there is no usable metadata.
        """
        if self._error is not None:
            raise self._error.with_traceback(None)  # which would grow, with every payload
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
            if not refused:  # LP-ODD-4: what is dropped has no effect
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

    def send(self, message: Message) -> Message:
        """Put a message into the outbox; returns it as it is sent, a clip with its id.

        A WAV clip is sent with the right length in its header (LP-CLIP-31). Raises
        :class:`LocalProtocolError` for a message that must not be sent now; nothing has changed
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
        self.check(message)
        if isinstance(message, Audio) and len(message.pcm) % SAMPLE_BYTES:
            raise LocalProtocolError(
                f"{len(message.pcm)} bytes are not a whole number of samples", clause="LP-AUD-6"
            )
        self._commit(message)
        self._clips_sent = clips_sent
        return message

    def closed(self, code: int = 1000, reason: str = "") -> list[AppEvent]:
        """The platform's close has come; clips and marks that are still unanswered are lost.

        Code 1006, with which WebSocket libraries report that there was no close, is taken as
        :meth:`connection_lost`.
        """
        if code == ABNORMAL:
            return [*self.connection_lost()]
        return [*self._closed(code, reason), Close(code, reason)]
