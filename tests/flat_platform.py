"""A platform that plays from a flat list of samples: nothing of it is listenproto's.

A second implementation of a platform's end, short and slow: the playout of :mod:`tests.flat_model`
and the spec's JSON. It behaves as documented, or as real deployments do, but for their streams.
"""

from __future__ import annotations

import base64
import io
import json
import wave
from collections.abc import Iterator
from typing import Any

from tests.flat_model import FLICKS, FlatModel

RATES = (8000, 16000, 24000, 32000, 48000, 64000)
SIZES_READ = {24000: 3, 32000: 4}
"""How many bytes of a raw clip deployed platforms take for a sample."""


class FlatPlatform:
    """One call. ``mode`` is off, clips or streaming; what is heard is in ``model.heard``."""

    def __init__(
        self,
        metadata: dict[str, object],
        *,
        mode: str,
        deployed: bool,
        rate: int,
        mix: str,
        stream_rate: int,
        dtmf: bool,
    ) -> None:
        self.metadata = {"sampleRate": rate, "mixType": mix} | metadata
        self.model = FlatModel(deployed=deployed)
        self.mode = mode
        self.deployed = deployed
        self.rate, self.mix, self.stream_rate = rate, mix, stream_rate
        self.dtmf = dtmf
        self.captured = b""
        self.out: list[str | bytes | int] = []
        self.over = False

    def connected(self) -> None:
        self.say(self.metadata)

    def say(self, message: dict[str, object]) -> None:
        self.out.append(json.dumps(message))

    def end(self, code: int | None, *, rest: bool = True) -> None:
        """The listen is over; with a code, the platform says so, behind the rest of the audio."""
        if self.over:
            return
        self.over = True
        if self.captured and rest and code is not None:
            self.out.append(self.captured)
        self.model.flush()
        if code is not None:
            self.out.append(code)

    def capture(self, pcm: bytes) -> None:
        if self.over:
            return
        self.captured += pcm
        size = self.rate // 50 * (4 if self.mix == "stereo" else 2)
        while len(self.captured) >= size:
            self.out.append(self.captured[:size])
            self.captured = self.captured[size:]

    def key(self, digit: str) -> None:
        if self.dtmf and not self.over:
            self.say({"event": "dtmf", "dtmf": digit, "duration": "800"})

    def play(self, flicks: int) -> list[tuple[int, int, int]]:
        """Gives each sample that is heard: value, start in flicks, rate."""
        self.model.play(flicks)
        self.tell()
        heard, self.model.heard = self.model.heard, []
        return heard

    def tell(self) -> None:
        """Tell of the clips and marks that are over."""
        overs, self.model.over = self.model.over, []
        for kind, name, how, *_ in overs:
            if self.over:
                continue
            if kind == "mark":
                self.say({"type": "mark", "data": {"name": name, "event": how}})
            else:
                self.say({"type": "playDone", **({"data": {"id": name}} if self.deployed else {})})

    def receive(self, payload: str | bytes) -> None:
        if self.over:
            return
        if isinstance(payload, bytes):
            if self.mode == "streaming":
                self.model.stream(payload, self.stream_rate)
            return
        for message in self.objects(payload):
            if not self.over:
                self.act(message)
                self.tell()

    @staticmethod
    def objects(text: str) -> Iterator[dict[str, Any]]:
        decoder = json.JSONDecoder()
        while text := text.strip(" \t\r\n"):
            message, end = decoder.raw_decode(text)
            yield message
            text = text[end:]

    def act(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind == "disconnect":
            self.end(1000, rest=False)
        elif kind == "error" and self.deployed:
            self.end(1000)
        elif kind == "killAudio" and self.mode != "off":
            self.model.kill()
        elif kind == "playAudio" and self.mode == "clips":
            self.play_audio(message["data"])
        elif kind == "clearMarks" and self.mode == "streaming":
            self.model.clear_marks()
        elif kind == "mark" and self.mode == "streaming":
            self.model.mark(message["data"]["name"])

    def play_audio(self, data: dict[str, Any]) -> None:
        pcm, rate = base64.b64decode(data["audioContent"]), data.get("sampleRate", 0)
        if data["audioContentType"] != "raw":
            with wave.open(io.BytesIO(pcm)) as file:
                rate = file.getframerate()
                pcm = file.readframes(file.getnframes())
                if file.getnchannels() == 2:
                    pcm = mixed_down(pcm)
        elif self.deployed and rate not in (8000, 16000):
            if rate not in SIZES_READ:
                return
            pcm = misread(pcm, SIZES_READ[rate])
        self.model.clip(pcm, int(rate), data.get("id"), queue_play=data.get("queuePlay") is True)

    def hang_up(self) -> None:
        self.end(1000)

    def closed(self, code: int) -> None:
        self.end(None)

    def connection_lost(self) -> None:
        self.end(None)

    def data_to_send(self) -> list[str | bytes | int]:
        out, self.out = self.out, []
        return out


def misread(pcm: bytes, size: int) -> bytes:
    """The upper two bytes of each sample of ``size`` bytes."""
    ends = range(size, len(pcm) // 2 * 2 + 1, size)
    return b"".join(pcm[end - 2 : end] for end in ends)


def mixed_down(pcm: bytes) -> bytes:
    """The mean of two channels, rounded down."""
    values = [
        int.from_bytes(pcm[i : i + 2], "little", signed=True) for i in range(0, len(pcm) - 1, 2)
    ]
    means = [(left + right) // 2 for left, right in zip(values[::2], values[1::2], strict=True)]
    return b"".join(mean.to_bytes(2, "little", signed=True) for mean in means)


__all__ = ["FLICKS", "FlatPlatform"]
