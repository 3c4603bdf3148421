"""Calls as tests make them, on any runtime."""

from __future__ import annotations

from typing import Final

from listenproto import BidirectionalAudio, ListenVerb
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


def audio(seconds: float, level: int = 1000) -> bytes:
    """So many seconds of one sample value, one channel at 8000 samples a second."""
    return level.to_bytes(SAMPLE_BYTES, "little", signed=True) * round(seconds * RATE)
