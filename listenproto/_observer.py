"""The observer: watches a conversation and names each breach, with its clause.

It is a third party. It sees messages in the order in which they pass at one end, its *vantage*. Of
the other end it knows only what has arrived, so messages that may have crossed on the way are never
counted as a breach. Sessions ask it before they send and when they receive; lint asks it about
recorded calls.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Container, Mapping
from typing import Any, Final, NamedTuple

import attrs

from listenproto._app_clips import AppClips
from listenproto._choices import check_texts, member
from listenproto._clips import ClipMatch, PlatformClips
from listenproto._codec import MAX_METADATA
from listenproto._jsontext import same, values
from listenproto._l16 import SAMPLE_BYTES, flicks_of
from listenproto._marks import AppMarks, MarkMatch, PlatformMarks
from listenproto._messages import (
    JSON,
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
from listenproto._rules import (
    BREACHES,
    CROSSINGS,
    ENDS,
    HARMLESS,
    MODES,
    REFUSALS,
    SENDERS,
    TRANSITIONS,
    PeerState,
)
from listenproto._sent import MAX_REMEMBERED, Record, Sent
from listenproto._splitter import arrives_whole
from listenproto._terms import sender_of
from listenproto._upgrade import Accepted, Rejected, Request
from listenproto._verb import ListenVerb
from listenproto._wav import WavError
from listenproto._way import check_mode, stream_rate_for, way_of

__all__ = ["AppLimits", "Judgement", "Observer", "Violation"]


_Found = list[tuple[str, str]]


@attrs.frozen
class Violation:
    """A breach of the protocol: which clause, by whom, with which message or HTTP head, and why.

    A receiver also reports in this way what is nobody's fault: a message for which there was no
    room (LP-STRM-5), an incomplete sample frame when the connection was lost (LP-AUD-5).
    """

    clause: str
    """The requirement of the spec that was broken, or a section of an RFC."""
    sender: Peer = attrs.field(converter=sender_of)
    """Who sent it."""
    message: Message | Request | Accepted | Rejected
    """The message, or the head of the request or answer."""
    reason: str
    """What is wrong, in words."""
    fatal: bool = False
    """The conversation cannot go on, as there is no usable metadata."""

    @property
    def dropped(self) -> bool:
        """Whether the receiver acts as if the message had never come."""
        return self.clause not in HARMLESS and self.clause not in ENDS

    @property
    def close_code(self) -> int:
        """The WebSocket close code that answers it if it is fatal (LP-META-2, LP-META-3)."""
        return 1007 if self.clause == "LP-ODD-2" else 1002

    def __str__(self) -> str:
        return f"{self.clause}: {self.reason}"


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
    """

    violations: tuple[Violation, ...] = ()
    match: object = None


_FAULTLESS: Final = Judgement()


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
        self._cuts_metadata = profile.cuts_metadata
        self._reads_any_case = profile.reads_any_case
        self._splits_metadata = profile.splits_metadata
        check_texts(without, "without")
        self._without = without
        self._limits = limits or AppLimits()
        self._max_clips = profile.waiting_clips + 1
        self._max_marks = profile.pending_marks
        self._fatal: Violation | None = None
        self._broken: deque[JSON] = deque(maxlen=MAX_REMEMBERED)
        """The ids of clips with broken base64 that a platform may play in part."""
        self._plays_broken = profile.plays_broken_clips and vantage is Peer.APP
        self.states: dict[Peer, PeerState] = dict.fromkeys(Peer, PeerState.START)
        self._record = Record(stream_rate_for(self._verb, stream_rate))
        self._clips: AppClips | PlatformClips
        self._marks: AppMarks | PlatformMarks
        if vantage is Peer.APP:
            self._clips = AppClips(profile, self._record)
            self._marks = AppMarks(profile, self._record)
        else:
            self._clips = PlatformClips(profile)
            self._marks = PlatformMarks(profile)
        self._audio_bytes = dict.fromkeys(Peer, 0)
        self._frame_bytes = dict.fromkeys(Peer, SAMPLE_BYTES)
        self._listen_rate = 8000

    @property
    def outstanding_clips(self) -> int:
        """How many clips count against the limit (LP-CLIP-2, LP-CLIP-29)."""
        return self._clips.outstanding

    @property
    def pending_marks(self) -> int:
        """How many marks count against the limit (LP-MARK-2)."""
        return self._marks.pending

    def holds_clip(self, clip_id: ClipId) -> bool:
        """Whether a clip of that id is outstanding, or may still get its playDone (LP-CLIP-15)."""
        return self._clips.holds(clip_id)

    def judge(self, sender: Peer, message: Message) -> Judgement:
        """Return what is wrong with that message at this point; record nothing."""
        breach = self._place(sender, message)
        if breach is not None and breach[0] not in self._without:
            fatal = sender is Peer.PLATFORM and self.states[sender] is PeerState.START
            return Judgement((Violation(breach[0], sender, message, breach[1], fatal),))
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
                if isinstance(message, Malformed) and self._plays_broken:
                    self._broken += _broken_clip(sender, message)
                return None
        if type(message) in _MOVERS:
            self._move(sender, message)
        record = _RECORDS.get(type(message))
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
        state = self.states[sender]
        if kind not in TRANSITIONS[sender][state]:
            if sender not in SENDERS.get(kind, ()):
                return "LP-ODD-1", f"{_name(kind)} is never sent by the {sender.value}"
            clause, reason = BREACHES[sender, state]
            return clause, f"{_name(kind)} out of place: {reason}"
        if sender is Peer.PLATFORM or kind not in MODES:
            return None
        modes, clause = MODES[kind]
        if self.mode in modes or (isinstance(message, Audio) and not message.pcm):
            return None  # LP-AUD-9: audio of no bytes means nothing in every mode
        allowed = " or ".join(sorted(mode.value for mode in modes))
        mode = self.mode.value if self.mode else "not set"
        return clause, f"{_name(kind)} needs {allowed} mode, but the call's mode is {mode}"

    def _check_play_done(self, message: PlayDone, match: ClipMatch | None) -> _Found:
        if match is not None:
            reason = f"playDone for the clip {message.id!r:.60} came after that of a later clip"
            return [] if match.in_order else [("LP-CLIP-25", reason)]
        if message.id is not None and message.id in self._broken:
            return []
        which = "" if message.id is None else f" with the id {message.id!r:.60}"
        if self._clips.was_killed(message.id):
            return [("LP-KILL-8", f"playDone{which} for a clip that killAudio had stopped")]
        return [("LP-CLIP-24", f"playDone{which} matches no clip")]

    def _check_mark_event(self, message: MarkEvent, match: MarkMatch | None) -> _Found:
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

    def _move(self, sender: Peer, message: Message) -> None:
        kind = type(message)
        if kind is Metadata and self._fatal is not None:
            return  # it comes too late: the app has to close
        row = TRANSITIONS[sender][self.states[sender]]
        self.states[sender] = row.get(kind, self.states[sender])
        if kind is Close:
            other = sender.other
            if other is self._vantage and self.states[other] is not PeerState.CLOSED:
                self.states[other] = PeerState.CLOSING
        else:
            peer, before, after = CROSSINGS[kind]
            certain = peer is self._vantage or kind is Metadata
            if certain and self.states[peer] is before:
                self.states[peer] = after


_MOVERS: Final = frozenset(CROSSINGS) | {
    kind
    for rows in TRANSITIONS.values()
    for state, row in rows.items()
    for kind, after in row.items()
    if after is not state
}
"""The messages that change a peer's state; audio, most of a call, does not."""


def _broken_clip(sender: Peer, message: Malformed) -> list[JSON]:
    """The id of the clip, if the message is one of the app's whose content cannot be read."""
    if sender is Peer.PLATFORM or message.clause != "LP-CLIP-6":
        return []
    ((clip, *_),) = values(message.text)
    data = clip.get("data")
    return [data.get("id")] if isinstance(data, dict) else []


def _name(kind: type[Any]) -> str:
    return "audio" if kind is Audio else kind.__name__


def _check_metadata(observer: Observer, sender: Peer, message: Metadata) -> _Found:
    found: _Found = []
    cut_there = observer._cuts_metadata and message.size == MAX_METADATA
    # LP-META-11: a command line may cut it anywhere, too, and nothing shows what it cut or lost.
    if message.truncated and not (cut_there or observer._splits_metadata):
        reason = message.flaw or "only the beginning of the metadata was read"
        found.append(("LP-META-11", reason))
    elif message.size > MAX_METADATA:
        reason = f"the metadata has {message.size} bytes; at most {MAX_METADATA} may be sent"
        found.append(("LP-META-11", reason))
    verb = observer._verb
    if verb is None or message.truncated:
        return found
    if (message.sample_rate, message.mix_type) != (verb.sample_rate, verb.mix_type):
        says = f"{message.sample_rate} {message.mix_type.value}"
        asked = f"{verb.sample_rate} {verb.mix_type.value}"
        found.append(("LP-META-7", f"the metadata says {says}, but the verb asks for {asked}"))
    for key, value in verb.to_json().get("metadata", {}).items():
        if observer._splits_metadata and not arrives_whole(key, value):
            continue  # LP-META-11: nobody can tell what became of it
        if key not in message.attributes or not same(message.attributes[key], value):
            reason = f"{key!r:.60} is not as in the verb's metadata"
            found.append(("LP-META-15", reason))
            break
    return found


def _check_dtmf(observer: Observer, sender: Peer, message: Dtmf) -> _Found:
    if observer._verb is None or observer._verb.pass_dtmf:
        return []
    return [("LP-DTMF-1", "dtmf was sent, but the verb does not set passDtmf")]


def _too_many(
    what: str, number: int, must: tuple[str, int], should: tuple[str, int | None]
) -> _Found:
    """Whether one more is beyond what the platform takes, or else beyond the app's own limit."""
    for clause, limit in (must, should):
        if limit is not None and number >= limit:
            return [(clause, f"{number} {what} already, and no more are allowed")]
    return []


def _check_play_audio(observer: Observer, sender: Peer, message: PlayAudio) -> _Found:
    found = _too_many(
        "clips are outstanding",
        observer._clips.counted(message),
        ("LP-CLIP-2", observer._max_clips),
        ("LP-CLIP-5", observer._limits.clips),
    )
    if message.id is not None and observer.holds_clip(message.id):
        reason = f"the id {message.id!r:.60} belongs to a clip that may still be playing"
        found.append(("LP-CLIP-15", reason))
    if observer._limits.safe_clip_ids and isinstance(message.id, str):
        unsafe = _NO_CLIP_ID.search(message.id)
        if unsafe:
            reason = (
                f"the id {message.id!r:.60} has {unsafe[0]!r} in it and may come back broken; use"
                " only ASCII letters, digits, '-', '_' and '.'"
            )
            found.append(("LP-CLIP-34", reason))
    if message.content_type == "wav":
        found += _check_wav(message)
    elif len(message.content) % SAMPLE_BYTES:
        reason = f"{len(message.content)} bytes are not a whole number of samples"
        found.append(("LP-CLIP-16", reason))
    return found


def _check_wav(clip: PlayAudio) -> _Found:
    try:
        flaw = clip.head.flaw
    except WavError as exc:
        return [("LP-CLIP-10", str(exc))]
    if flaw is None:
        return []
    return [("LP-CLIP-31", f"the WAV header has a wrong length: {flaw}")]


def _check_unknown(observer: Observer, sender: Peer, message: UnknownMessage) -> _Found:
    """Whether the platform would read a type in it where this end reads none, or another."""
    if sender is Peer.PLATFORM or not observer._reads_any_case:
        return []
    for name in message.body:
        if "\0" in name or (name != "type" and name.lower() == "type"):
            reason = f"the platform may read the member {name!r:.60} as 'type'; rename it"
            return [("LP-ODD-8", reason)]
    if "\0" in (message.type or ""):
        reason = f"the platform may read {message.type!r:.60} as another type; leave U+0000 out"
        return [("LP-ODD-8", reason)]
    return []


_NO_CLIP_ID: Final = re.compile(r"[^A-Za-z0-9._-]")
_UNSAFE: Final = re.compile(r'["\\\x00-\x1f\x7f]')


def _check_mark(observer: Observer, sender: Peer, message: Mark) -> _Found:
    found = _too_many(
        "marks are pending",
        observer.pending_marks,
        ("LP-MARK-2", observer._max_marks),
        ("LP-MARK-3", observer._limits.marks),
    )
    unsafe = observer._limits.safe_mark_names and _UNSAFE.search(message.name)
    if unsafe:
        reason = f"the name {message.name!r:.60} has {unsafe[0]!r} in it and may come back broken"
        found.append(("LP-MARK-6", reason))
    return found


_MARK_FAULTS: Final = {
    "LP-MARK-14": "it came before that of an earlier mark",
    "LP-KILL-6": "no killAudio was sent that could clear that mark",
    "LP-KILL-7": "killAudio had cleared that mark",
}


def _check_rest(observer: Observer, sender: Peer) -> _Found:
    # The other's close or disconnect may have cut the audio off anywhere.
    cut_off = observer.states[sender.other] in (PeerState.LEAVING, PeerState.CLOSED)
    left_over = observer.left_over(sender)
    return [] if cut_off or left_over is None else [("LP-AUD-1", left_over)]


def _check_close(observer: Observer, sender: Peer, message: Close) -> _Found:
    leaving = observer.states[sender] is PeerState.LEAVING
    # The app's audio was checked at its disconnect.
    found = [] if leaving and sender is Peer.APP else _check_rest(observer, sender)
    if sender is Peer.PLATFORM and leaving and message.code != 1000:
        found.append(("LP-END-5", f"a listen must end with close code 1000, not {message.code}"))
    fatal = observer._fatal
    # At the platform's end, or as an answer to the platform's own close, the code proves nothing.
    asked = observer._vantage is Peer.APP and observer.states[Peer.APP] is not PeerState.CLOSING
    if fatal is not None and sender is Peer.APP and asked and message.code != fatal.close_code:
        clause = "LP-META-3" if fatal.close_code == 1007 else "LP-META-2"
        reason = f"such metadata must be closed with {fatal.close_code}, not {message.code}"
        found.append((clause, reason))
    return found


_CHECKS: Final[Mapping[type[Any], Callable[[Observer, Peer, Any], _Found]]] = {
    Metadata: _check_metadata,
    Dtmf: _check_dtmf,
    PlayAudio: _check_play_audio,
    Mark: _check_mark,
    UnknownMessage: _check_unknown,
    Disconnect: lambda observer, sender, message: _check_rest(observer, sender),
    Close: _check_close,
}
"""What else can be wrong with a message that is allowed now; of answers, see the observer."""


def _record_metadata(observer: Observer, sender: Peer, message: Metadata) -> None:
    observer._frame_bytes[Peer.PLATFORM] = SAMPLE_BYTES * message.mix_type.channels
    observer._listen_rate = message.sample_rate


def _record_audio(observer: Observer, sender: Peer, message: Audio) -> None:
    observer._audio_bytes[sender] += len(message.pcm)
    if sender is Peer.PLATFORM:
        frames = observer._audio_bytes[sender] // observer._frame_bytes[sender]
        observer._record.media_time = flicks_of(frames, observer._listen_rate)
    else:
        observer._marks.streamed(len(message.pcm))


def _record_play_audio(observer: Observer, sender: Peer, message: PlayAudio) -> Sent:
    return observer._clips.sent(message)


def _record_kill(observer: Observer, sender: Peer, message: KillAudio) -> None:
    observer._clips.killed()
    observer._marks.killed()


def _record_mark(observer: Observer, sender: Peer, message: Mark) -> Sent:
    return observer._marks.sent(message)


def _record_clear(observer: Observer, sender: Peer, message: ClearMarks) -> None:
    observer._marks.cleared()


def _record_disconnect(observer: Observer, sender: Peer, message: Disconnect) -> None:
    observer._record.disconnected()


_RECORDS: Final[Mapping[type[Any], Callable[[Observer, Peer, Any], Sent | None]]] = {
    Metadata: _record_metadata,
    Audio: _record_audio,
    PlayAudio: _record_play_audio,
    KillAudio: _record_kill,
    Mark: _record_mark,
    ClearMarks: _record_clear,
    Disconnect: _record_disconnect,
}
"""What a message that passes changes in the record; of answers, see the observer."""
