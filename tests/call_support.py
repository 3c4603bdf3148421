"""Calls as tests make them, on any runtime."""

from __future__ import annotations

from typing import Any, Final

from listenproto import (
    Answering,
    BidirectionalAudio,
    Limits,
    ListenVerb,
    PlayAudio,
    UnknownMessage,
)
from listenproto._l16 import SAMPLE_BYTES

RATE: Final = 8000
CALL_SID: Final = "call-1"
ATTRIBUTES: Final = {"callSid": CALL_SID, "from": "+15550100", "direction": "inbound"}

CLIPS: Final = ListenVerb(url="ws://app.example/", pass_dtmf=True)
STREAM: Final = ListenVerb(
    url="ws://app.example/",
    pass_dtmf=True,
    bidirectional_audio=BidirectionalAudio(streaming=True, sample_rate=RATE),
)

FILLER: Final = UnknownMessage({"type": "filler", "text": "." * 200})
PROBE: Final = UnknownMessage({"type": "probe"})


def audio(seconds: float, level: int = 1000) -> bytes:
    """So many seconds of one sample value, one channel at 8000 samples a second."""
    return level.to_bytes(SAMPLE_BYTES, "little", signed=True) * round(seconds * RATE)


def clip(seconds: float, **options: Any) -> PlayAudio:
    return PlayAudio(audio(seconds), sample_rate=RATE, **options)


def small_outbox(verb: ListenVerb, size: int = 1000) -> Answering:
    return Answering(mode=verb.mode(), limits=Limits(outbox_size=size))
