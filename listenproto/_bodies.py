"""What is in the JSON object of each message: checked and read into values, and written.

Readers raise :class:`BadBody` for what breaks a clause; members that the protocol does not know are
ignored (LP-ODD).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Final, cast

from listenproto._jsontext import whole_number
from listenproto._l16 import PLAY_RATES
from listenproto._terms import DIGITS, JSON, ClipContentType, ClipId, MarkFate, MixType, Peer

__all__ = [
    "BadBody",
    "base64_front",
    "read_base64",
    "read_clip",
    "read_dtmf",
    "read_mark",
    "read_metadata",
    "read_play_done",
    "write_clip",
    "write_dtmf",
    "write_mark",
    "write_metadata",
    "write_play_done",
]


def read_base64(text: str) -> bytes:
    """Decode base64 (RFC 4648, 4). Raises ValueError for anything else."""
    content = binascii.a2b_base64(text, strict_mode=True)
    if len(text) != (len(content) + 2) // 3 * 4:  # Python accepts excess padding
        raise ValueError("excess padding")
    return content


_BASE64: Final = re.compile("[A-Za-z0-9+/]*")


def base64_front(text: str) -> bytes:
    """Decode base64 up to the first character that is none, or to the padding; never raises."""
    front = _BASE64.match(text)
    assert front is not None
    digits = front[0] if len(front[0]) % 4 != 1 else front[0][:-1]  # six bits are no byte
    return binascii.a2b_base64(digits + "=" * (-len(digits) % 4))


class BadBody(ValueError):
    """The body of a message breaks a clause."""

    def __init__(self, clause: str, reason: str) -> None:
        super().__init__(reason)
        self.clause = clause


def _wrong(clause: str, obj: Mapping[str, JSON], key: str, allowed: str) -> BadBody:
    if key not in obj:
        return BadBody(clause, f"{key!r} is missing; it must be {allowed}")
    return BadBody(clause, f"{key!r} must be {allowed}, not {obj[key]!r:.40}")


def _field(obj: Mapping[str, JSON], key: str, clause: str) -> Mapping[str, JSON]:
    value = obj.get(key)
    if not isinstance(value, dict):
        raise _wrong(clause, obj, key, "a JSON object")
    return value


def read_dtmf(obj: Mapping[str, JSON]) -> tuple[str, int | None]:
    """The digit, and the duration if there is one."""
    digit, duration = obj.get("dtmf"), obj.get("duration")
    if not (isinstance(digit, str) and len(digit) == 1 and digit in DIGITS):
        raise _wrong("LP-DTMF-3", obj, "dtmf", f"one key of {DIGITS}")
    number = whole_number(duration)
    if duration is not None and (number is None or number < 0):
        raise _wrong("LP-DTMF-4", obj, "duration", "a whole number")
    return digit, number


def _read_id(data: Mapping[str, JSON], clause: str) -> ClipId | None:
    clip_id = data.get("id")
    if clip_id is None:
        return None
    if isinstance(clip_id, str | int | float) and not isinstance(clip_id, bool):
        return clip_id
    raise _wrong(clause, data, "id", "a string or a number")


def read_play_done(obj: Mapping[str, JSON]) -> tuple[ClipId | None, dict[str, JSON]]:
    """The clip's id, and the figures of its playback."""
    if obj.get("data") is None:
        return None, {}
    data = _field(obj, "data", "LP-CLIP-26")
    return _read_id(data, "LP-CLIP-26"), {key: data[key] for key in data if key != "id"}


def read_mark(obj: Mapping[str, JSON], sender: Peer) -> tuple[str, MarkFate | None]:
    """The name of a mark; of a mark event also what happened to it."""
    clause = "LP-MARK-5" if sender is Peer.APP else "LP-MARK-7"
    data = _field(obj, "data", clause)
    name = data.get("name")
    if not isinstance(name, str):
        raise _wrong(clause, data, "name", "a string")
    if "event" not in data:
        return name, None
    event = data["event"]
    if event not in ("playout", "cleared"):
        clause = "LP-MARK-10" if sender is Peer.PLATFORM else "LP-ODD-1"
        raise _wrong(clause, data, "event", "'playout' or 'cleared'")
    return name, cast(MarkFate, event)


_CONTENT_TYPES: Final[dict[JSON, ClipContentType]] = {
    "raw": "raw",
    "wav": "wav",
    "wave": "wav",
}


def read_clip(
    obj: Mapping[str, JSON],
    *,
    decoded: Callable[[str], bytes] = read_base64,
    other_rate: int | None = None,
) -> tuple[bytes, ClipContentType, int | None, ClipId | None, bool | None]:
    """The content of a clip, its type, its rate, its id, and whether it is queued.

    ``decoded`` reads the base64; ``other_rate`` stands for a rate that no raw clip can have.
    """
    data = _field(obj, "data", "LP-CLIP-6")
    kind, text, rate = (data.get(k) for k in ("audioContentType", "audioContent", "sampleRate"))
    if not isinstance(kind, str) or kind not in _CONTENT_TYPES:
        raise _wrong("LP-CLIP-7", data, "audioContentType", "raw, wav or wave")
    if not isinstance(text, str):
        raise _wrong("LP-CLIP-6", data, "audioContent", "a base64 string")
    try:
        content = decoded(text)
    except ValueError as exc:
        raise BadBody("LP-CLIP-6", f"'audioContent' is not valid base64: {exc}") from None
    number = whole_number(rate)
    if _CONTENT_TYPES[kind] == "raw" and number not in PLAY_RATES:
        number = other_rate
    if _CONTENT_TYPES[kind] == "raw" and number is None:
        allowed = ", ".join(map(str, PLAY_RATES))
        raise _wrong("LP-CLIP-8", data, "sampleRate", f"one of {allowed}")
    queue_play = data.get("queuePlay")
    if not (queue_play is None or isinstance(queue_play, bool)):
        raise _wrong("LP-CLIP-12", data, "queuePlay", "true or false")
    return content, _CONTENT_TYPES[kind], number, _read_id(data, "LP-CLIP-11"), queue_play


def read_metadata(obj: Mapping[str, JSON]) -> tuple[dict[str, JSON], int, MixType]:
    """The attributes of the call, the sample rate, and the mix type."""
    rate = whole_number(obj.get("sampleRate", 8000))
    if rate not in PLAY_RATES:
        allowed = ", ".join(map(str, PLAY_RATES))
        raise _wrong("LP-META-5", obj, "sampleRate", f"one of {allowed}")
    mix_type = obj.get("mixType", "mono")
    if mix_type not in ("mono", "stereo", "mixed"):
        raise _wrong("LP-META-6", obj, "mixType", "mono, stereo or mixed")
    attributes = {key: obj[key] for key in obj if key not in ("sampleRate", "mixType")}
    return attributes, rate, MixType(mix_type)


def _members(**members: JSON) -> dict[str, JSON]:
    return {key: value for key, value in members.items() if value is not None}


def write_dtmf(digit: str, duration: int | None) -> JSON:
    written = None if duration is None else str(duration)
    return _members(event="dtmf", dtmf=digit, duration=written)


def write_play_done(clip_id: ClipId | None, playback: Mapping[str, JSON]) -> JSON:
    data = _members(id=clip_id) | dict(playback)
    return _members(type="playDone", data=data or None)


def write_mark(name: str, event: MarkFate | None = None) -> JSON:
    data: JSON = {"name": name} if event is None else {"name": name, "event": event}
    return {"type": "mark", "data": data}


def write_clip(
    content: bytes,
    content_type: ClipContentType,
    sample_rate: int | None,
    clip_id: ClipId | None,
    queue_play: bool | None,
) -> JSON:
    data = _members(
        audioContent=base64.b64encode(content).decode(),
        audioContentType=content_type,
        sampleRate=sample_rate,
        id=clip_id,
        queuePlay=queue_play,
    )
    return {"type": "playAudio", "data": data}


def write_metadata(attributes: Mapping[str, JSON], rate: int, mix_type: MixType) -> JSON:
    # At the front, so that a cut at 8192 bytes does not hit them.
    return {"sampleRate": rate, "mixType": mix_type.value} | dict(attributes)
