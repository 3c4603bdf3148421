"""The observer: watches a conversation and names each breach, with its clause.

It is a third party. It sees messages in the order in which they pass at one end, its *vantage*. Of
the other end it knows only what has arrived, so messages that may have crossed on the way are never
counted as a breach. Sessions ask it before they send and when they receive; lint asks it about
recorded calls.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any, Final, NamedTuple

import attrs

from listenproto._app_clips import AppClips
from listenproto._choices import check_texts, member
from listenproto._clips import ClipMatch, PlatformClips, bits_read
from listenproto._faults import (
    Found,
    caution,
    clip_faults,
    dtmf_faults,
    ends_verb,
    mark_faults,
    metadata_faults,
    unknown_faults,
)
from listenproto._l16 import SAMPLE_BYTES, flicks_of
from listenproto._lifecycle import MOVERS, Lifecycle, name_of
from listenproto._marks import AppMarks, MarkMatch, PlatformMarks
from listenproto._messages import (
    Audio,
    ClearMarks,
    ClipId,
    Close,
    Disconnect,
    Dtmf,
    KillAudio,
    Malformed,
    Mark,
    MarkEvent,
    Message,
    Metadata,
    Mode,
    Peer,
    PlayAudio,
    PlayDone,
    UnknownMessage,
)
from listenproto._profile import DOCUMENTED, Profile, profile_of
from listenproto._rules import MODES, REFUSALS, PeerState
from listenproto._sent import Record, Sent
from listenproto._terms import APP, PLATFORM
from listenproto._verb import ListenVerb
from listenproto._violation import Violation
from listenproto._way import check_mode, stream_rate_for, way_of
from listenproto.codec import broken_clip

__all__ = ["AppLimits", "Judgement", "Observer"]


@attrs.frozen(kw_only=True)
class AppLimits:
    """Limits that a careful app keeps, beyond those of the protocol; None: no limit."""

    clips: int | None = None
    """How many clips may be outstanding (LP-CLIP-5)."""
    marks: int | None = None
    """How many marks may be pending (LP-MARK-3)."""
    safe_mark_names: bool = False
    """Refuse names with quotes, backslashes or control characters, which deployed platforms send
    back as broken JSON (LP-MARK-6)."""
    safe_clip_ids: bool = False
    """Refuse ids with anything but ASCII letters, digits, ``-``, ``_`` and ``.``, for which
    deployed platforms can send a broken playDone (LP-CLIP-34)."""


class Judgement(NamedTuple):
    """What is wrong with a message, and which clip or mark it answers.

    ``violations`` is empty if nothing is wrong; ``match`` is for :meth:`Observer.take` alone.
    ``played`` is what the platform plays all the same of a clip that it cannot read (LP-CLIP-19).
    """

    violations: tuple[Violation, ...] = ()
    match: object = None
    played: PlayAudio | None = None


_FAULTLESS: Final = Judgement()
_OPEN: Final = PeerState.OPEN
(_STREAMING,) = MODES[Audio][0]
"""The mode in which the app may send audio."""


class Observer:
    """Watches a conversation, message by message, and names each breach.

    ``way`` is the listen verb, or the mode if the verb is not known, or None if the mode is set
    later, before the app sends anything. ``mode`` is needed only if it is not the verb's own:
    off, as in a dial (LP-VERB-3); any other is a ValueError. ``stream_rate`` is the sample rate of
    the app's stream: the verb's, or 8000, unless given. ``vantage`` is the end from which it
    watches: messages are judged in the order in which they pass there. ``profile`` says what the
    platform is like, and ``limits`` what a careful app keeps to besides. ``without`` switches
    clauses off. The constructor takes modes, profiles and peers by name, and raises ValueError for
    one that does not exist.

    ``states`` is the state of each peer, as seen from the vantage.
    """

    def __init__(
        self,
        way: ListenVerb | Mode | str | None,
        *,
        mode: Mode | str | None = None,
        profile: Profile | str = DOCUMENTED,
        vantage: Peer | str,
        limits: AppLimits | None = None,
        stream_rate: int | None = None,
        without: Container[str] = (),
    ) -> None:
        way = None if way is None else way_of(way)
        self._verb = way if isinstance(way, ListenVerb) else None
        self.mode: Mode | None = way.mode() if isinstance(way, ListenVerb) else way
        if mode is not None:
            self.mode = member(Mode, mode, "mode")
            if way is not None:
                check_mode(way, self.mode)
        profile = profile_of(profile)
        vantage = member(Peer, vantage, "vantage")
        self._vantage = vantage
        self._profile = profile
        check_texts(without, "without")
        self._without = without
        self._limits = limits or AppLimits()
        self._max_clips = profile.waiting_clips + 1
        self._max_marks = profile.pending_marks
        self._fatal: Violation | None = None
        self._lifecycle = Lifecycle(vantage)
        self.states: dict[Peer, PeerState] = self._lifecycle.states
        self._record = Record(stream_rate_for(self._verb, stream_rate))
        self._clips: AppClips | PlatformClips
        self._marks: AppMarks | PlatformMarks
        if vantage is Peer.APP:
            self._clips = AppClips(profile, self._record)
            self._marks = AppMarks(profile, self._record)
        else:
            self._clips = PlatformClips(profile)
            self._marks = PlatformMarks(profile)
        self.verb_ended: bool = False
        """Whether an ``error`` of the app has ended the verb, but not the connection."""
        self._audio_bytes = dict.fromkeys(Peer, 0)
        self._frame_bytes = dict.fromkeys(Peer, SAMPLE_BYTES)
        self._frame_flicks = flicks_of(1, 8000)

    @property
    def outstanding_clips(self) -> int:
        """How many clips count against the limit (LP-CLIP-2, LP-CLIP-29)."""
        return self._clips.outstanding

    @property
    def pending_marks(self) -> int:
        """How many marks count against the limit (LP-MARK-2)."""
        return self._marks.pending

    def caution(self, sender: Peer, message: Message) -> str | None:
        """What goes wrong with a message that breaks nothing, and what to do; None if nothing."""
        if sender is Peer.PLATFORM:
            return None
        return caution(message, self._profile, verb_ended=self.verb_ended)

    def reaches_nobody(self, message: Message) -> bool:
        """Whether the platform ignores a message of the app: a clip that it cannot read,
        or, once the verb has ended, any clip and a disconnect."""
        if isinstance(message, PlayAudio) and not bits_read(message, self._profile):
            return True
        return self.verb_ended and isinstance(message, PlayAudio | Disconnect)

    def holds_clip(self, clip_id: ClipId) -> bool:
        """Whether a clip of that id is outstanding, or may still get its playDone (LP-CLIP-15)."""
        return self._clips.holds(clip_id)

    def judge(self, sender: Peer, message: Message) -> Judgement:
        """Return what is wrong with that message at this point; record nothing."""
        breach = self._place(sender, message)
        if breach is not None and breach[0] not in self._without:
            fatal = sender is Peer.PLATFORM and self.states[sender] is PeerState.START
            played = self._played(sender, message)
            violation = Violation(
                breach[0], sender, message, breach[1], fatal, partly_taken=played is not None
            )
            return Judgement((violation,), played=played)
        check = _CHECKS.get(type(message))
        match: ClipMatch | MarkMatch | None = None
        if check is not None:
            found = check(self, sender, message)
        elif isinstance(message, PlayDone):
            match = self._clips.match(message.id)
            found = self._check_play_done(message, match)
        elif isinstance(message, MarkEvent):
            match = self._marks.match(message.name, message.event)
            found = self._check_mark_event(message, match)
        else:
            return _FAULTLESS
        violations = [
            Violation(clause, sender, message, reason)
            for clause, reason in found
            if clause not in self._without
        ]
        return Judgement((*violations,), match)

    def _played(self, sender: Peer, message: Message) -> PlayAudio | None:
        """What the platform plays of a clip that it cannot read, if there is room for it."""
        plays = self._profile.plays_broken_clips and sender is Peer.APP
        if not (plays and isinstance(message, Malformed)):
            return None
        clip = broken_clip(message, string_sample_rate=self._profile.string_sample_rate)
        if clip is None or any(one.dropped for one in self.judge(sender, clip).violations):
            return None
        return clip

    def take(
        self, sender: Peer, message: Message, judgement: Judgement, now: float = 0.0
    ) -> Sent | None:
        """Record that the message passes, as it was just judged.

        Returns the entry of the clip or mark that it sends or answers. ``now`` is the time in
        seconds, on any clock; without one, leave it out.
        """
        if now > self._record.now:
            self._record.pass_time(now)
        for violation in judgement.violations:
            if violation.fatal and self._fatal is None:
                self._fatal = violation
            refused_unseen = violation.clause in REFUSALS and self._vantage is Peer.APP
            if violation.dropped and not refused_unseen:
                return None
        message = judgement.played or message
        if self._vantage is PLATFORM and self.reaches_nobody(message):
            return None
        kind = type(message)
        # Metadata that follows unusable metadata comes too late: the app has to close.
        if kind in MOVERS and not (kind is Metadata and self._fatal is not None):
            self._lifecycle.passes(sender, kind)
        record = _RECORDS.get(kind)
        if record is not None:
            return record(self, sender, message)
        if isinstance(message, PlayDone) and isinstance(judgement.match, ClipMatch):
            return self._clips.done(message, judgement.match)
        if isinstance(message, MarkEvent) and isinstance(judgement.match, MarkMatch):
            return self._marks.done(message, judgement.match)
        return None

    def see(self, sender: Peer, message: Message, now: float = 0.0) -> list[Violation]:
        """Record that the message passes, and return what is wrong with it."""
        judgement = self.judge(sender, message)
        self.take(sender, message, judgement, now)
        return [*judgement.violations]

    def hears(self, size: int) -> bool:
        """Record audio of the platform, if none of it can be wrong at this point; else do nothing.

        Does the same as :meth:`see` for audio that is in place.
        """
        if self.states[PLATFORM] is not _OPEN:
            return False
        self._hear(size)
        return True

    def says(self, size: int, now: float = 0.0) -> bool:
        """As :meth:`hears`, for audio of the app."""
        if self.states[APP] is not _OPEN or self.mode is not _STREAMING:
            return False
        if now > self._record.now:
            self._record.pass_time(now)
        self._say(size)
        return True

    def _say(self, size: int) -> None:
        self._audio_bytes[APP] += size
        if self._vantage is APP:
            self._record.streamed(size)

    def _hear(self, size: int) -> None:
        self._audio_bytes[PLATFORM] = heard = self._audio_bytes[PLATFORM] + size
        self._record.media_time = heard // self._frame_bytes[PLATFORM] * self._frame_flicks

    def left_over(self, sender: Peer) -> str | None:
        """A sentence if that peer's audio ends with an incomplete sample frame; else None."""
        rest = self._audio_bytes[sender] % self._frame_bytes[sender]
        if not rest:
            return None
        frame = self._frame_bytes[sender]
        return f"the audio ends with an incomplete sample frame: {rest} of {frame} bytes"

    def _place(self, sender: Peer, message: Message) -> tuple[str, str] | None:
        """The clause that does not allow such a message here and now, and why; None if all do."""
        kind = type(message)
        if isinstance(message, Malformed):
            return message.clause, message.reason
        breach = self._lifecycle.breach(sender, kind)
        if breach is not None or sender is PLATFORM or kind not in MODES:
            return breach
        modes, clause = MODES[kind]
        if self.mode in modes or (isinstance(message, Audio) and not message.pcm):
            return None  # LP-AUD-9: audio of no bytes means nothing in every mode
        allowed = " or ".join(sorted(mode.value for mode in modes))
        mode = self.mode.value if self.mode else "not set"
        return clause, f"{name_of(kind)} needs {allowed} mode, but the call's mode is {mode}"

    def _check_metadata(self, sender: Peer, message: Metadata) -> Found:
        return metadata_faults(message, self._verb, self._profile)

    def _check_dtmf(self, sender: Peer, message: Dtmf) -> Found:
        return dtmf_faults(message, self._verb)

    def _check_play_audio(self, sender: Peer, message: PlayAudio) -> Found:
        found = _too_many(
            "clips are outstanding",
            self._clips.counted(message),
            ("LP-CLIP-2", self._max_clips),
            ("LP-CLIP-5", self._limits.clips),
        )
        if message.id is not None and self.holds_clip(message.id):
            reason = f"the id {message.id!r:.60} belongs to a clip that may still be playing"
            found.append(("LP-CLIP-15", reason))
        return found + clip_faults(message, safe_id=self._limits.safe_clip_ids)

    def _check_mark(self, sender: Peer, message: Mark) -> Found:
        found = _too_many(
            "marks are pending",
            self.pending_marks,
            ("LP-MARK-2", self._max_marks),
            ("LP-MARK-3", self._limits.marks),
        )
        return found + mark_faults(message, safe_name=self._limits.safe_mark_names)

    def _check_unknown(self, sender: Peer, message: UnknownMessage) -> Found:
        read_otherwise = sender is Peer.APP and self._profile.reads_any_case
        return unknown_faults(message) if read_otherwise else []

    def _check_disconnect(self, sender: Peer, message: Disconnect) -> Found:
        return self._check_rest(sender)

    def _check_rest(self, sender: Peer) -> Found:
        # The other's close or disconnect may have cut the audio off anywhere.
        cut_off = self.states[sender.other] in (PeerState.LEAVING, PeerState.CLOSED)
        left_over = self.left_over(sender)
        return [] if cut_off or left_over is None else [("LP-AUD-1", left_over)]

    def _check_close(self, sender: Peer, message: Close) -> Found:
        leaving = self.states[sender] is PeerState.LEAVING
        # The app's audio was checked at its disconnect.
        found = [] if leaving and sender is Peer.APP else self._check_rest(sender)
        if sender is Peer.PLATFORM and leaving and message.code != 1000:
            reason = f"a listen must end with close code 1000, not {message.code}"
            found.append(("LP-END-5", reason))
        fatal = self._fatal
        # At the platform's end, or as an answer to the platform's close, the code proves nothing.
        asked = self._vantage is Peer.APP and self.states[Peer.APP] is not PeerState.CLOSING
        if fatal is not None and sender is Peer.APP and asked and message.code != fatal.close_code:
            clause = "LP-META-3" if fatal.close_code == 1007 else "LP-META-2"
            reason = f"such metadata must be closed with {fatal.close_code}, not {message.code}"
            found.append((clause, reason))
        return found

    def _check_play_done(self, message: PlayDone, match: ClipMatch | None) -> Found:
        if match is not None:
            reason = f"playDone for the clip {message.id!r:.60} came after that of a later clip"
            return [] if match.in_order else [("LP-CLIP-25", reason)]
        which = "" if message.id is None else f" with the id {message.id!r:.60}"
        if self._clips.was_killed(message.id):
            return [("LP-KILL-8", f"playDone{which} for a clip that killAudio had stopped")]
        return [("LP-CLIP-24", f"playDone{which} matches no clip")]

    def _check_mark_event(self, message: MarkEvent, match: MarkMatch | None) -> Found:
        if match is None:
            if self._marks.was_forgotten(message.name):
                reason = f"clearMarks had removed the mark {message.name!r:.60}"
                return [("LP-MARK-15", reason)]
            reason = f"{message.event} of {message.name!r:.60} matches no mark"
            return [("LP-MARK-9", reason)]
        if match.clause is None:
            return []
        fault = _MARK_FAULTS[match.clause]
        return [(match.clause, f"{message.event} of {message.name!r:.60}: {fault}")]

    def _record_metadata(self, sender: Peer, message: Metadata) -> None:
        self._frame_bytes[Peer.PLATFORM] = SAMPLE_BYTES * message.mix_type.channels
        self._frame_flicks = flicks_of(1, message.sample_rate)

    def _record_audio(self, sender: Peer, message: Audio) -> None:
        if sender is PLATFORM:
            self._hear(len(message.pcm))
        else:
            self._say(len(message.pcm))

    def _record_play_audio(self, sender: Peer, message: PlayAudio) -> Sent:
        return self._clips.sent(message)

    def _record_kill(self, sender: Peer, message: KillAudio) -> None:
        self._clips.killed()
        self._marks.killed()

    def _record_mark(self, sender: Peer, message: Mark) -> Sent:
        return self._marks.sent(message)

    def _record_clear(self, sender: Peer, message: ClearMarks) -> None:
        self._marks.cleared()

    def _record_unknown(self, sender: Peer, message: UnknownMessage) -> None:
        self.verb_ended |= sender is Peer.APP and ends_verb(message, self._profile)

    def _record_disconnect(self, sender: Peer, message: Disconnect) -> None:
        self._record.disconnected()


def _too_many(
    what: str, number: int, must: tuple[str, int], should: tuple[str, int | None]
) -> Found:
    """Whether one more is beyond what the platform takes, or else beyond the app's own limit."""
    for clause, limit in (must, should):
        if limit is not None and number >= limit:
            return [(clause, f"{number} {what} already, and no more are allowed")]
    return []


_MARK_FAULTS: Final = {
    "LP-MARK-14": "it came before that of an earlier mark",
    "LP-KILL-6": "no killAudio was sent that could clear that mark",
    "LP-KILL-7": "killAudio had cleared that mark",
}

_CHECKS: Final[Mapping[type[Any], Callable[[Observer, Peer, Any], Found]]] = {
    Metadata: Observer._check_metadata,
    Dtmf: Observer._check_dtmf,
    PlayAudio: Observer._check_play_audio,
    Mark: Observer._check_mark,
    UnknownMessage: Observer._check_unknown,
    Disconnect: Observer._check_disconnect,
    Close: Observer._check_close,
}
"""What else can be wrong with a message that is allowed now; of answers, see the observer."""

_RECORDS: Final[Mapping[type[Any], Callable[[Observer, Peer, Any], Sent | None]]] = {
    Metadata: Observer._record_metadata,
    Audio: Observer._record_audio,
    PlayAudio: Observer._record_play_audio,
    KillAudio: Observer._record_kill,
    Mark: Observer._record_mark,
    ClearMarks: Observer._record_clear,
    UnknownMessage: Observer._record_unknown,
    Disconnect: Observer._record_disconnect,
}
"""What a message that passes changes in the record; of answers, see the observer."""
