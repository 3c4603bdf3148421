"""Floods: what an end holds, whatever a peer sends and does not read, stays within the limits.

Measured is the most that was held at any moment, and nothing that a user would keep.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import tracemalloc
from collections.abc import Callable, Iterable
from typing import Final

import pytest

from listenproto import (
    DEPLOYED,
    DOCUMENTED,
    AppSession,
    ListenTask,
    Mode,
    Profile,
    RemoteProtocolError,
)
from listenproto._platform_session import MAX_ANSWERS
from tests.hostile_support import (
    HEADS,
    MASKS,
    SAID,
    STEP,
    Driven,
    a_platform,
    a_task,
    an_app,
)
from tests.wire_support import BINARY, CLOSE, CONT, PING, PONG, TEXT, close_payload, frame

# Counting branches would be counted as memory, and takes five times as long.
pytestmark = pytest.mark.no_cover

KIB: Final = 1024
MAX_HEAD: Final = 4 * KIB
MAX_MESSAGE: Final = 64 * KIB
SLACK: Final = 64 * KIB
"""What Python itself may take: objects of a fixed number, spare room in buffers, and garbage with
cycles in it, such as errors with their tracebacks, until that is collected."""
MESSAGE: Final = 256
"""What a message may take besides its payload."""


def held(work: Callable[[], object]) -> int:
    """How many bytes more than in front of some work are held at any moment of it."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def an_end(role: str, *chunks: bytes, stalls: bool = False) -> Driven:
    make = an_app if role == "app" else a_platform
    driven = Driven(make(max_head=MAX_HEAD, max_message=MAX_MESSAGE), stalls=stalls)
    driven.take(*chunks)
    return driven


def suffer(driven: Driven, chunks: Iterable[bytes]) -> None:
    """Take a flood as a user does who lets go of what it has seen, and of errors."""
    for chunk in chunks:
        try:
            for _ in driven.end.receive(chunk):
                pass
        except RemoteProtocolError:
            pass


def times(number: int, chunk: bytes) -> Iterable[bytes]:
    return itertools.repeat(chunk, number)


class TestHeads:
    @pytest.mark.parametrize("role", MASKS)
    @pytest.mark.parametrize("piece", [b"X: y\r\n" * 100, b"x" * KIB])
    def test_a_head_without_end(self, role: str, piece: bytes) -> None:
        driven = an_end(role, HEADS[role][:-2])
        assert held(lambda: suffer(driven, times(1000, piece))) < MAX_HEAD + SLACK

    def test_interim_answers_without_end(self) -> None:
        driven = an_end("platform")
        interim = b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" * 10
        assert held(lambda: suffer(driven, times(100, interim))) < SLACK

    @pytest.mark.parametrize(
        "body",
        [b"\r\n", b"Transfer-Encoding: chunked\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n1;"],
    )
    def test_the_body_of_a_refusal_without_end(self, body: bytes) -> None:
        driven = an_end("platform", b"HTTP/1.1 503 Busy\r\n" + body)
        flood = times(1000, b"3ff;" + b"x" * KIB)
        assert held(lambda: suffer(driven, flood)) < 3 * MAX_HEAD + SLACK

    def test_what_comes_before_the_answer(self) -> None:
        driven = an_end("app", HEADS["app"], stalls=True)
        assert held(lambda: suffer(driven, times(1000, b"x" * KIB))) < MAX_MESSAGE + SLACK


@pytest.mark.parametrize("role", MASKS)
class TestFrames:
    def flood(self, role: str, *chunks: bytes, number: int = 1000) -> int:
        driven = an_end(role, HEADS[role])
        suffer(driven, chunks)  # what is held once is not what piles up
        return held(lambda: suffer(driven, times(number, b"".join(chunks))))

    def test_pings_that_nobody_answers(self, role: str) -> None:
        assert self.flood(role, frame(PING, bytes(125), mask=MASKS[role])) < SLACK

    def test_pongs_that_nobody_asked_for(self, role: str) -> None:
        assert self.flood(role, frame(PONG, bytes(125), mask=MASKS[role])) < SLACK

    def test_frames_of_no_bytes(self, role: str) -> None:
        assert self.flood(role, frame(BINARY, mask=MASKS[role])) < SLACK

    @pytest.mark.parametrize("payload", [b"", b"x", bytes(KIB)])
    def test_fragments_without_end(self, role: str, payload: bytes) -> None:
        mask = MASKS[role]
        fragment = frame(CONT, payload, fin=False, mask=mask)
        first = frame(BINARY, fin=False, mask=mask)
        driven = an_end(role, HEADS[role], first + fragment)
        assert held(lambda: suffer(driven, times(2000, fragment))) < 2 * MAX_MESSAGE + SLACK

    @pytest.mark.parametrize("length", [MAX_MESSAGE, MAX_MESSAGE + 1, 2**31, 2**63 - 1, 2**64 - 1])
    def test_a_length_costs_nothing_until_it_comes(self, role: str, length: int) -> None:
        start = frame(BINARY, length=length, form=64, mask=MASKS[role])
        driven = an_end(role, HEADS[role])
        assert held(lambda: suffer(driven, [start])) < SLACK
        # Whole, it is there as the frame that came, unmasked, and as what the user is given.
        assert held(lambda: suffer(driven, times(1000, b"x" * KIB))) < 3 * MAX_MESSAGE + SLACK

    @pytest.mark.parametrize(
        "end", [frame(3), frame(CLOSE, close_payload(1000)), frame(TEXT, b"\xff")]
    )
    def test_what_follows_the_end(self, role: str, end: bytes) -> None:
        driven = an_end(role, HEADS[role], end)
        assert held(lambda: suffer(driven, times(1000, b"x" * KIB))) < SLACK

    def test_what_follows_an_error_that_nobody_answers(self, role: str) -> None:
        """The faults of a conversation leave the framing as it was."""
        head = HEADS[role].replace(b"Sec-WebSocket-Protocol", b"X") if role == "platform" else None
        driven = an_end(role, head or HEADS[role], frame(TEXT, b"[]", mask=MASKS[role]))
        assert driven.error is not None
        flood = times(1000, frame(BINARY, bytes(KIB), mask=MASKS[role]))
        assert held(lambda: suffer(driven, flood)) < SLACK


def texts(*bodies: object) -> list[bytes]:
    return [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]


class TestTheApp:
    @pytest.mark.parametrize("mode", Mode)
    @pytest.mark.parametrize(
        "text",
        texts(
            b"",
            b"[" * KIB,
            b'{"type":',
            {},
            {"type": "unheard of", "data": "x" * KIB},
            {"callSid": "again", "mixType": "stereo"},
            {"event": "dtmf", "dtmf": "1"},
            {"type": "playDone"},
            {"type": "playDone", "data": {"id": "x" * KIB}},
            {"type": "mark", "data": {"name": "x" * KIB, "event": "cleared"}},
            {"type": "mark", "data": {"name": "x", "event": "playout"}},
            {"type": "killAudio"},
        ),
    )
    def test_texts_of_every_kind(self, mode: Mode, text: bytes) -> None:
        app = Driven(an_app(mode), SAID[mode])
        app.take(HEADS["app"], frame(TEXT, b"{}", mask=b"mask"))
        chunk = frame(TEXT, text, mask=b"mask") * 10
        suffer(app, [chunk])
        assert held(lambda: suffer(app, times(30, chunk))) < len(chunk) + SLACK

    def test_audio_that_is_never_a_whole_sample(self) -> None:
        app = an_end("app", HEADS["app"], frame(TEXT, b'{"mixType":"stereo"}', mask=b"mask"))
        audio = frame(BINARY, b"x" * 321, mask=b"mask")
        suffer(app, [audio])
        assert held(lambda: suffer(app, times(2000, audio))) < SLACK

    def test_what_follows_no_metadata_on_another_transport(self) -> None:
        """There it is the session that raises for ever."""
        session = AppSession()

        def flood() -> None:
            for number in range(200):
                with contextlib.suppress(RemoteProtocolError):
                    session.receive(str(number) * KIB)

        # The first text is a thousand zeros, which deployed platforms would have joined.
        assert held(flood) < KIB * MESSAGE + SLACK


SECONDS: Final = 0.25
AUDIO: Final = int(SECONDS * 8000) * 2
"""Bytes of audio that the platform may hold."""
MARKS: Final = 512 * KIB
"""What a thousand marks cost besides their names."""


def answers(profile: Profile) -> float:
    """What answers may take that the app does not read; joined to one, its parts are beside it."""
    return (2.5 if profile.joins_texts else 1.5) * MAX_ANSWERS


def mark(name: str) -> object:
    return {"type": "mark", "data": {"name": name}}


@pytest.mark.parametrize("profile", [DOCUMENTED, DEPLOYED], ids=lambda profile: profile.name)
class TestThePlatform:
    """An app that never reads; and time that stands still for the caller, where that is worse."""

    def flood(
        self,
        profile: Profile,
        *said: object,
        number: int,
        mode: Mode = Mode.STREAMING,
        plays: bool = False,
    ) -> int:
        payloads = [item if isinstance(item, bytes) else json.dumps(item) for item in said]

        def flood(task: ListenTask, number: int) -> None:
            for _ in range(number):
                for payload in payloads:
                    task.receive(payload)
                if plays:
                    task.play(STEP)

        once, task = (a_task(mode, profile, max_seconds=SECONDS) for _ in range(2))
        for one in (once, task):
            one.connected()
        flood(once, 1)  # what Python, or the measuring of coverage, holds once does not pile up
        return held(lambda: flood(task, number))

    @pytest.mark.parametrize("plays", [False, True])
    @pytest.mark.parametrize("size", [4 * KIB, 100 * KIB])
    @pytest.mark.parametrize("then", [None, "killAudio", "clearMarks"])
    def test_marks_with_long_names(
        self, profile: Profile, plays: bool, size: int, then: str | None
    ) -> None:
        said = [bytes(320), mark("x" * size), *([{"type": then}] if then else [])]
        number = 2 * MAX_ANSWERS // size
        bound = 2 * (MAX_ANSWERS + size) + AUDIO + MARKS
        assert self.flood(profile, *said, number=number, plays=plays) < bound

    def test_marks_that_are_reached_at_once(self, profile: Profile) -> None:
        flood = self.flood(profile, mark("x" * 5000), number=2 * MAX_ANSWERS // 5000)
        assert flood < answers(profile)

    @pytest.mark.parametrize(
        "between",
        [
            [],
            [{"type": "killAudio"}],
            [mark(""), {"type": "clearMarks"}],
            [mark(""), {"type": "clearMarks"}, {"type": "killAudio"}],
        ],
    )
    def test_audio_in_single_samples(self, profile: Profile, between: list[object]) -> None:
        flood = self.flood(profile, b"xx", *between, number=AUDIO // 2)
        assert flood < AUDIO + SLACK

    @pytest.mark.parametrize("size", [3, 320, 100 * KIB])
    def test_more_audio_than_has_room(self, profile: Profile, size: int) -> None:
        flood = self.flood(profile, bytes(size), number=100 + 2 * AUDIO // size)
        assert flood < AUDIO + SLACK

    @pytest.mark.parametrize("plays", [False, True])
    @pytest.mark.parametrize("queue_play", [False, True])
    @pytest.mark.parametrize("content", ["", "AAAA" * 100])
    def test_clips(self, profile: Profile, plays: bool, queue_play: bool, content: str) -> None:
        data = {"audioContent": content, "audioContentType": "raw", "sampleRate": 8000}
        clips = [
            {"type": "playAudio", "data": data | {"id": number * 10_000, "queuePlay": queue_play}}
            for number in "ab"
        ]
        flood = self.flood(profile, *clips, number=200, mode=Mode.CLIPS, plays=plays)
        assert flood < answers(profile) + AUDIO

    @pytest.mark.parametrize("mode", Mode)
    @pytest.mark.parametrize(
        "text",
        [
            {},
            {"type": "unheard of", "data": "x" * KIB},
            {"type": "killAudio"},
            {"type": "clearMarks"},
            {"type": "playAudio", "data": {"audioContent": "A" * KIB, "audioContentType": "wav"}},
            {"type": "mark", "data": {"name": "x", "event": "playout"}},
            {"type": "playDone"},
            {"callSid": "c"},
        ],
    )
    def test_texts_of_every_kind(self, profile: Profile, mode: Mode, text: object) -> None:
        assert self.flood(profile, text, number=500, mode=mode) < SLACK
