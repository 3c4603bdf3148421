"""How calls are answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from listenproto.app_session import AppSession, ModeOf
from listenproto.handshake import Policy
from listenproto.messages import Mode
from listenproto.profile import DOCUMENTED, Profile
from listenproto_trio.limits import Limits
from listenproto_trio.transport import Tap
from listenproto_trio.unread import UnreadPolicy

__all__ = ["MOST_CLIPS", "Answering"]

MOST_CLIPS: Final = 10
"""How many clips an app has under way at the most, where it does not ask for more (LP-CLIP-5)."""


@attrs.frozen(kw_only=True)
class Answering:
    """How calls are answered; one value for all calls of a server.

    ``mode`` is the mode of the way back, or a function of request and metadata that tells it;
    ``stream_rate`` the rate of a stream back in samples a second, from which waits compute how
    long playing takes. ``unread`` says what happens to audio that is not read in time. With
    ``drain``, a call whose handler has returned is closed only when its clips and marks are over.
    ``tap`` gives, for each call, what is told of every payload; raising costs that call, while what
    the tap itself raises is logged, once, and costs no more than the tap.
    """

    mode: Mode | ModeOf = Mode.CLIPS
    stream_rate: int = 8000
    profile: Profile = DOCUMENTED
    policy: Policy = attrs.field(factory=Policy)
    limits: Limits = attrs.field(factory=Limits)
    unread: UnreadPolicy = "drop_oldest"
    drain: bool = False
    max_clips: int | None = MOST_CLIPS
    max_marks: int | None = 30
    salvage_metadata: bool = False
    tap: Callable[[AppSession], Tap] | None = None

    def session(self) -> AppSession:
        """The session of a new call."""
        return AppSession(
            mode=self.mode,
            profile=self.profile,
            max_clips=self.max_clips,
            max_marks=self.max_marks,
            salvage_metadata=self.salvage_metadata,
            keep_passed=self.tap is not None,
        )
