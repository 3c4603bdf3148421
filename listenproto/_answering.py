"""How calls are answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, get_args

import attrs

from listenproto._app_session import AppSession, check_assumed
from listenproto._checks import a_duration, a_function, a_number, a_switch, instance_of
from listenproto._choices import one_of
from listenproto._ended_call import EndedCall
from listenproto._handshake import HandshakePolicy
from listenproto._limits import Limits
from listenproto._link import Tap
from listenproto._messages import Metadata, Mode
from listenproto._profile import DOCUMENTED, Profile, profile_of
from listenproto._unread import UnreadPolicy
from listenproto._verb import ListenVerb
from listenproto._way import ModeOf, given_mode, mode_for, stream_rate_for

__all__ = ["MOST_CLIPS", "Answering"]

MOST_CLIPS: Final = 10
"""The default limit of an app's outstanding clips (LP-CLIP-5)."""


@attrs.frozen(kw_only=True)
class Answering:
    """How calls are answered; one value for all calls of a server.

    ``verb`` is the listen verb of the calls: it gives mode and rate, and what the platform sends
    that does not fit the verb is reported. An app that does not know the verb passes ``mode``
    instead (the mode, or a function of request and metadata that returns it; by default clips) and
    ``stream_rate`` (the sample rate of its stream in Hz, by default 8000), from which this end
    computes how long playing takes. With a verb, leave both out, or pass ``Mode.OFF`` if the verb
    is nested in a dial. Raises ValueError for a mode or a rate that contradicts the verb, and for a
    rate that no verb can have, as for any wrong value of the other fields. Mode and ``profile`` may
    be given by name: ``Answering(mode="streaming", profile="deployed")``.

    ``unread`` says what happens to audio that is not read in time. With ``drain``, a call whose
    handler has returned is closed only when the caller has heard everything, as with
    :meth:`HandlerCall.drain`. ``salvage_metadata`` takes calls whose metadata is cut off or
    damaged, with what can be read of it; None leaves that to the profile. ``assume`` stands for
    what a platform leaves out that sends no metadata, or JSON without ``sampleRate`` and
    ``mixType``: ``Answering(assume=Metadata(sample_rate=16000, mix_type="stereo"))``.

    ``tap`` is called for each call and returns the call's tap, which gets every payload. If ``tap``
    raises, the call fails. If the call's tap raises, that is logged, it is not called again, and
    the call goes on. ``on_lost`` is called with the session and the reason if a server accepts a
    call but its handler cannot start, as no usable metadata came or a mode function failed; what it
    raises is logged. ``on_end`` is called with each call that had a handler, once it is over and
    closed; what it raises is logged.
    """

    verb: ListenVerb | None = None
    mode: Mode | ModeOf | None = attrs.field(
        default=None, converter=attrs.converters.optional(given_mode)
    )
    stream_rate: int | None = None
    profile: Profile = attrs.field(default=DOCUMENTED, converter=profile_of)
    policy: HandshakePolicy = attrs.field(
        factory=HandshakePolicy, validator=instance_of(HandshakePolicy)
    )
    """Which upgrade requests are accepted; not used on another library's WebSocket."""
    limits: Limits = attrs.field(factory=Limits, validator=instance_of(Limits))
    """How long things may take, and how large they may get."""
    unread: UnreadPolicy = attrs.field(
        default="drop_oldest", validator=one_of(get_args(UnreadPolicy))
    )
    chunk: float = attrs.field(default=0.0, validator=a_duration)
    """How many seconds of audio make one event, as for a recognizer that wants 0.1; 0: each message
    is one. There is less in front of another event, of dropped audio and of the end, and more if
    messages do not end there."""
    drain: bool = attrs.field(default=False, validator=a_switch)
    max_clips: int | None = attrs.field(default=MOST_CLIPS, validator=a_number)
    """How many clips may be outstanding; None leaves the limit to the platform (LP-CLIP-5)."""
    max_marks: int | None = attrs.field(default=30, validator=a_number)
    """How many marks may be pending; None leaves the limit to the platform (LP-MARK-3)."""
    raw_as_wav: bool | None = attrs.field(
        default=None, validator=attrs.validators.optional(a_switch)
    )
    """Whether raw clips are sent as WAV at rates that platforms misread (LP-CLIP-33); None leaves
    that to the profile."""
    replace_minus_one: bool | None = attrs.field(
        default=None, validator=attrs.validators.optional(a_switch)
    )
    """Whether -2 is sent for each sample of -1 in a stream, which platforms take for a mark; None
    leaves that to the profile."""
    pad_speech: bool | None = attrs.field(
        default=None, validator=attrs.validators.optional(a_switch)
    )
    """Whether silence is sent behind speech and before a killAudio, so that platforms that play in
    batches keep nothing back; None leaves that to the profile."""
    reset_marks: bool | None = attrs.field(
        default=None, validator=attrs.validators.optional(a_switch)
    )
    """Whether the stream is reset, by samples of -1 and silence, after a killAudio or a clearMarks
    that makes platforms lose later marks, and after a mark that they have lost; None leaves that to
    the profile."""
    hold_behind_marks: bool | None = attrs.field(
        default=None, validator=attrs.validators.optional(a_switch)
    )
    """Whether audio waits for the event of the mark before it, at most until that is overdue by a
    second; None: where the profile's platforms would lose the mark, as the stream has another rate
    than their calls."""
    refuse_clear_marks: bool = attrs.field(default=False, validator=a_switch)
    """Whether a clearMarks that makes the profile's platforms lose later marks is refused; else the
    log says so, once per call."""
    salvage_metadata: bool | None = attrs.field(
        default=None, validator=attrs.validators.optional(a_switch)
    )
    assume: Metadata | None = None
    tap: Callable[[AppSession], Tap] | None = attrs.field(default=None, validator=a_function)
    on_lost: Callable[[AppSession, str], None] | None = attrs.field(
        default=None, validator=a_function
    )
    on_end: Callable[[EndedCall], None] | None = attrs.field(default=None, validator=a_function)

    def __attrs_post_init__(self) -> None:
        mode_for(self.verb, self.mode)
        stream_rate_for(self.verb, self.stream_rate)
        check_assumed(self.assume)

    def session(self) -> AppSession:
        """The session of a new call."""
        return AppSession(
            verb=self.verb,
            mode=self.mode,
            stream_rate=self.stream_rate,
            profile=self.profile,
            max_clips=self.max_clips,
            max_marks=self.max_marks,
            raw_as_wav=self.raw_as_wav,
            replace_minus_one=self.replace_minus_one,
            salvage_metadata=self.salvage_metadata,
            assume=self.assume,
            keep_passed=self.tap is not None,
        )
