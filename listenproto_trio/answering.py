"""How calls are answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, get_args

import attrs

from listenproto.app_session import AppSession, ModeOf, given_mode, mode_of
from listenproto.choices import one_of
from listenproto.handshake import Policy
from listenproto.l16 import check_stream_rate
from listenproto.messages import Mode
from listenproto.profile import DOCUMENTED, Profile, profile_of
from listenproto.verb import ListenVerb, stream_rate_of
from listenproto_trio.limits import Limits
from listenproto_trio.transport import Tap
from listenproto_trio.unread import UnreadPolicy

__all__ = ["MOST_CLIPS", "Answering"]

MOST_CLIPS: Final = 10
"""How many clips an app has under way at the most, where it does not ask for more (LP-CLIP-5)."""


@attrs.frozen(kw_only=True)
class Answering:
    """How calls are answered; one value for all calls of a server.

    ``verb`` is the listen verb with which the calls are made: mode and rate follow from it, and
    what the platform sends that does not fit it is reported. An app that does not know the verb
    gives instead ``mode``, the mode of the way back or a function of request and metadata that
    tells it (clips, unless given), and ``stream_rate``, the rate of a stream back in samples a
    second (8000, unless given), from which this end reckons how long playing takes. Beside a verb
    they are left out, but for ``Mode.OFF`` where the verb is nested in a dial. Raises ValueError
    for a mode or a rate that contradicts the verb, and for a rate that no verb can ask for. Mode
    and ``profile`` may be given by name: ``Answering(mode="streaming", profile="deployed")``.

    ``unread`` says what happens to audio that is not read in time. With
    ``drain``, a call whose handler has returned is closed only when the caller has heard all that
    was sent, as with :meth:`Call.drain`.
    ``tap`` gives, for each call, what is told of every payload; raising costs that call, while what
    the tap itself raises is logged, once, and costs no more than the tap. ``on_lost`` is called,
    with the session and the reason, for each call that a server has accepted but that ends before
    its handler can start: no usable metadata came, or a function of the mode failed. What it raises
    is logged.
    """

    verb: ListenVerb | None = None
    mode: Mode | ModeOf = attrs.field(
        default=attrs.Factory(lambda self: mode_of(self.verb), takes_self=True),
        converter=given_mode,
    )
    stream_rate: int = attrs.field(
        default=attrs.Factory(lambda self: stream_rate_of(self.verb), takes_self=True)
    )
    profile: Profile = attrs.field(default=DOCUMENTED, converter=profile_of)
    policy: Policy = attrs.field(factory=Policy)
    limits: Limits = attrs.field(factory=Limits)
    unread: UnreadPolicy = attrs.field(
        default="drop_oldest", validator=one_of(get_args(UnreadPolicy))
    )
    drain: bool = False
    max_clips: int | None = MOST_CLIPS
    max_marks: int | None = 30
    salvage_metadata: bool = False
    tap: Callable[[AppSession], Tap] | None = None
    on_lost: Callable[[AppSession, str], None] | None = None

    @mode.validator
    def _check_mode(self, attribute: attrs.Attribute[Mode | ModeOf], mode: Mode | ModeOf) -> None:
        mode_of(self.verb, mode)

    @stream_rate.validator
    def _check_rate(self, attribute: attrs.Attribute[int], rate: int) -> None:
        check_stream_rate(rate)
        stream_rate_of(self.verb, rate)

    def session(self) -> AppSession:
        """The session of a new call."""
        return AppSession(
            verb=self.verb,
            mode=self.mode,
            profile=self.profile,
            max_clips=self.max_clips,
            max_marks=self.max_marks,
            salvage_metadata=self.salvage_metadata,
            keep_passed=self.tap is not None,
        )
