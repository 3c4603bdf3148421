"""What is wrong with a message by itself, whatever has passed before it.

Each function returns what is wrong with one kind of message: the clauses that it breaks, and why.
:mod:`listenproto._observer` adds what is wrong with its place in the conversation.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from listenproto._clips import bits_read
from listenproto._jsontext import same
from listenproto._l16 import SAMPLE_BYTES
from listenproto._messages import (
    Disconnect,
    Dtmf,
    Mark,
    Message,
    Metadata,
    PlayAudio,
    UnknownMessage,
)
from listenproto._profile import Profile
from listenproto._splitter import arrives_whole
from listenproto._verb import ListenVerb
from listenproto._wav import WavError
from listenproto.codec import MAX_METADATA

__all__ = [
    "Found",
    "caution",
    "clip_faults",
    "dtmf_faults",
    "ends_verb",
    "mark_faults",
    "metadata_faults",
    "unknown_faults",
]

Found: TypeAlias = list[tuple[str, str]]
"""Clauses that are broken, and why."""

_UNSAFE_ID: Final = re.compile(r"[^A-Za-z0-9._-]")
_UNSAFE_NAME: Final = re.compile(r'["\\\x00-\x1f\x7f]')


def metadata_faults(message: Metadata, verb: ListenVerb | None, profile: Profile) -> Found:
    """Whether metadata is cut off, or is not what the verb asks for."""
    found: Found = []
    cut_there = profile.cuts_metadata and message.size == MAX_METADATA
    # LP-META-11: a command line may cut it anywhere, too, and nothing shows what it cut or lost.
    if message.truncated and not (cut_there or profile.splits_metadata):
        reason = message.flaw or "only the beginning of the metadata was read"
        found.append(("LP-META-11", reason))
    elif message.size > MAX_METADATA:
        reason = f"the metadata has {message.size} bytes; at most {MAX_METADATA} may be sent"
        found.append(("LP-META-11", reason))
    if verb is None or message.truncated:
        return found
    if (message.sample_rate, message.mix_type) != (verb.sample_rate, verb.mix_type):
        says = f"{message.sample_rate} {message.mix_type.value}"
        asked = f"{verb.sample_rate} {verb.mix_type.value}"
        found.append(("LP-META-7", f"the metadata says {says}, but the verb asks for {asked}"))
    for key, value in verb.to_json().get("metadata", {}).items():
        if profile.splits_metadata and not arrives_whole(key, value):
            continue  # LP-META-11: nobody can tell what became of it
        if key not in message.attributes or not same(message.attributes[key], value):
            reason = f"{key!r:.60} is not as in the verb's metadata"
            found.append(("LP-META-15", reason))
            break
    return found


def dtmf_faults(message: Dtmf, verb: ListenVerb | None) -> Found:
    """Whether the verb does not ask for key presses."""
    if verb is None or verb.pass_dtmf:
        return []
    return [("LP-DTMF-1", "dtmf was sent, but the verb does not set passDtmf")]


def clip_faults(clip: PlayAudio, *, safe_id: bool) -> Found:
    """Whether a clip has odd content or, with ``safe_id``, an id that may come back broken."""
    found: Found = []
    unsafe = _UNSAFE_ID.search(clip.id) if safe_id and isinstance(clip.id, str) else None
    if unsafe:
        reason = (
            f"the id {clip.id!r:.60} has {unsafe[0]!r} in it and may come back broken; use"
            " only ASCII letters, digits, '-', '_' and '.'"
        )
        found.append(("LP-CLIP-34", reason))
    if clip.content_type == "wav":
        found += _wav_faults(clip)
    elif len(clip.content) % SAMPLE_BYTES:
        reason = f"{len(clip.content)} bytes are not a whole number of samples"
        found.append(("LP-CLIP-16", reason))
    return found


def _wav_faults(clip: PlayAudio) -> Found:
    try:
        flaw = clip.head.flaw
    except WavError as exc:
        return [("LP-CLIP-10", str(exc))]
    if flaw is None:
        return []
    return [("LP-CLIP-31", f"the WAV header has a wrong length: {flaw}")]


def mark_faults(mark: Mark, *, safe_name: bool) -> Found:
    """Whether, with ``safe_name``, the name of a mark may come back broken."""
    unsafe = _UNSAFE_NAME.search(mark.name) if safe_name else None
    if not unsafe:
        return []
    reason = f"the name {mark.name!r:.60} has {unsafe[0]!r} in it and may come back broken"
    return [("LP-MARK-6", reason)]


def unknown_faults(message: UnknownMessage) -> Found:
    """Whether a platform that reads names in any case finds a type in it, or another one."""
    for name in message.body:
        if "\0" in name or (name != "type" and name.lower() == "type"):
            reason = f"the platform may read the member {name!r:.60} as 'type'; rename it"
            return [("LP-ODD-8", reason)]
    if "\0" in (message.type or ""):
        reason = f"the platform may read {message.type!r:.60} as another type; leave U+0000 out"
        return [("LP-ODD-8", reason)]
    return []


def ends_verb(message: Message, profile: Profile) -> bool:
    """Whether a message of the app ends the verb and leaves the connection open."""
    is_error = isinstance(message, UnknownMessage) and message.type == "error"
    return is_error and profile.error_ends_verb


def caution(message: Message, profile: Profile, *, verb_ended: bool) -> str | None:
    """What goes wrong with a message of the app that breaks nothing, and what to do; or None."""
    if verb_ended and isinstance(message, PlayAudio | Disconnect):
        what = "clip" if isinstance(message, PlayAudio) else "disconnect"
        return f"the platform ignores this {what}, as an 'error' has ended the verb; close the call"
    if ends_verb(message, profile):
        return "'error' ends the verb, but not the connection; send a disconnect instead"
    if not isinstance(message, PlayAudio) or (bits := bits_read(message, profile)) == 16:
        return None
    if bits:
        return f"the platform plays raw clips of {message.sample_rate} Hz as noise; send a WAV"
    return f"the platform plays no raw clips of {message.sample_rate} Hz; send a WAV"
