"""The two reference behaviours: what the protocol says, and what deployed platforms do.

A profile is frozen data, with one field for each thing in ``spec/deployed.md`` that this package
plays or avoids; D… is the decision in ``spec/decisions.md``. Code looks at the field, never at the
profile's name. The defaults of the fields are the documented behaviour.
"""

from __future__ import annotations

from typing import Final

import attrs

from listenproto._choices import listed
from listenproto._l16 import PLAY_RATES
from listenproto._shown import shown

__all__ = ["DEPLOYED", "DOCUMENTED", "PROFILES", "Profile", "profile_of"]


@attrs.frozen(kw_only=True)
class Profile:
    """How platforms differ from the documented protocol, and what an app does about it."""

    name: str
    """What the profile is called; :data:`DOCUMENTED` and :data:`DEPLOYED` may be given by name."""

    accepts_no_subprotocol: bool = False
    """D2: goes on if the server's answer names no subprotocol."""

    narrow_urls: bool = False
    """D29: never connects to a URL with an IPv6 address, with a query and no path, with a scheme in
    mixed case, or with ``'`` or ``|`` in it."""

    credentials_size: int | None = None
    """D3: how many bytes of user name and password together are sent right; None: any number."""

    checks_transcribe: bool = False
    """D0: refuses a verb whose ``transcribe`` has a member that it does not know."""

    string_sample_rate: int | None = None
    """The rate in Hz at which a clip is played whose ``sampleRate`` is a string, whatever it says;
    None: at the rate it says."""

    raw_clip_rates: tuple[int, ...] = PLAY_RATES
    """D12: the rates in Hz at which a raw clip is played as it is meant. An app sends one of
    another rate as a WAV. A platform takes one of 24000 Hz for samples of 24 bits and one of 32000
    Hz for samples of 32 bits; others it does not play, and sends no playDone for them."""

    plays_broken_clips: bool = False
    """D12: of a clip whose base64 is broken, the part before the fault is played, and a raw clip
    whose rate is none at ``string_sample_rate``; its playDone comes."""

    text_overtakes_audio: bool = False
    """Text is sent before audio that is still queued."""

    joins_texts: bool = False
    """Texts that are sent together share one message."""

    cuts_metadata: bool = False
    """D5: metadata of more than 8192 bytes is cut off there; otherwise it is refused."""

    splits_metadata: bool = False
    """D5: metadata passes a command line, which loses apostrophes and the escaping of nested values
    and of keys."""

    salvages_metadata: bool = False
    """D5: an app reads what is whole in metadata that is cut off or damaged; else it closes."""

    waiting_clips: int = 10
    """D8: how many clips may wait behind the one that plays."""

    clips_wait_unasked: bool = True
    """D8: a clip waits behind the one that plays; if false, only with ``queuePlay: true``, and
    without it, it suspends that one and drops those that wait."""

    kill_spares_waiting_clips: bool = False
    """D10: a killAudio stops only the clip that plays; its playDone comes, the next starts."""

    escapes_clip_ids: bool = True
    """D11: a clip's id is escaped as JSON requires when it comes back. Otherwise the playDone
    passes a command line, and an app refuses ids that break it."""

    play_done_data: bool = False
    """playDone carries the clip's id and playback figures."""

    clip_gap: float = 0.0
    """D8: how many seconds after one clip the one that waited behind it starts. Deployed platforms
    need 0.05 to 0.07 for that; :data:`DEPLOYED` has 0, so that its times stay exact."""

    clip_piece: int = 0
    """D11: a clip is read this many samples of ``channel_rate`` at a time, and what was read counts
    as played in the seconds and milliseconds of its playDone; 0: they are what was heard."""

    pending_marks: int = 1000
    """D15: how many marks may be pending; one more is dropped."""

    channel_rate: int = 8000
    """The sample rate of the call in Hz, in whose samples deployed platforms count and buffer."""

    plays_in_frames: bool = False
    """D13, D14, D35: audio is played in frames of 20 ms. A killAudio takes effect at the end of the
    frame. A stream is played from buffers that hold ``prebuffer`` and ``stream_batch`` seconds,
    with its marks in it as samples of -1; marks get lost, and any sample of -1 is taken for one, so
    an app sends -2 instead. Otherwise a stream is played exactly as it comes."""

    escapes_mark_names: bool = True
    """D15: a mark's name is escaped as JSON requires when it comes back."""

    reads_any_case: bool = False
    """D19: a member of a message is found whatever the case of its name."""

    prebuffer: float = 0.0
    """D33: how many seconds of a stream must be there before the first of it is played; an app pads
    its first speech to that length."""

    stream_batch: float = 0.0
    """D33: a stream is played this many seconds at a time, and what is left over stays behind, even
    after a killAudio. An app sends so much silence behind speech, and before a killAudio."""

    kill_guard: float = 0.0
    """D34: for how many seconds an app that streams sends no audio and no marks after a killAudio,
    unless it is told otherwise; they would be dropped."""

    error_ends_verb: bool = False
    """D20: a message of type ``error`` from the app ends the verb, but not the connection. What
    plays goes on; later clips, a disconnect and keys reach nobody."""

    finish_on_whole_string: bool = False
    """D21: finishOnKey is compared with the key as one string, not as a set of keys."""

    ignores_timeout: bool = False
    """D21: a timeout never ends a listen."""

    max_length_runs_in_pause: bool = False
    """D21: maxLength counts the time since the start, also while a pause stops the audio."""


DOCUMENTED: Final = Profile(name="documented")
"""A platform as the documentation describes it; the default."""

DEPLOYED: Final = Profile(
    name="deployed",
    accepts_no_subprotocol=True,
    narrow_urls=True,
    credentials_size=89,
    checks_transcribe=True,
    string_sample_rate=16000,
    raw_clip_rates=(8000, 16000),
    plays_broken_clips=True,
    text_overtakes_audio=True,
    joins_texts=True,
    cuts_metadata=True,
    splits_metadata=True,
    salvages_metadata=True,
    waiting_clips=11,
    clips_wait_unasked=False,
    kill_spares_waiting_clips=True,
    escapes_clip_ids=False,
    play_done_data=True,
    clip_piece=16384,
    pending_marks=30,
    plays_in_frames=True,
    escapes_mark_names=False,
    prebuffer=0.16,
    stream_batch=0.08,
    kill_guard=0.04,
    reads_any_case=True,
    error_ends_verb=True,
    finish_on_whole_string=True,
    ignores_timeout=True,
    max_length_runs_in_pause=True,
)
"""A platform like real deployments, where they differ from the documentation."""

PROFILES: Final = {profile.name: profile for profile in (DOCUMENTED, DEPLOYED)}


def profile_of(value: Profile | str) -> Profile:
    """A profile, or the one of that name. Raises ValueError for anything else."""
    if isinstance(value, Profile):
        return value
    if isinstance(value, str) and value in PROFILES:
        return PROFILES[value]
    allowed = listed(PROFILES, or_else="a Profile")
    raise ValueError(f"profile must be {allowed}; it is {shown(value)}")
