"""Speaking at the pace of playout, and being interrupted."""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial
from typing import Any

import anyio
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listenproto import (
    DEPLOYED,
    FLICKS,
    Answering,
    Audio,
    BidirectionalAudio,
    CallEnded,
    HandlerCall,
    Heard,
    KillAudio,
    ListenVerb,
    LocalProtocolError,
    Outcome,
    Playback,
)
from tests.call_support import CALL_SID, CLIPS, STREAM, audio, small_outbox
from tests.depth import FEW
from tests.differing import first_difference
from tests.interop import noise
from tests.runtime_support import (
    BUSY,
    Line,
    all_blocked,
    current_time,
    line,
    sleep_until,
    still_works,
    virtual,
)

pytestmark = pytest.mark.usefixtures("each_end")

STEP = 0.02


async def playing(both: Line, heard: list[Heard]) -> None:
    """The clock of the caller's ear."""
    started_at, steps = current_time(), 0
    while True:
        steps += 1
        await sleep_until(started_at + steps * STEP)
        heard += both.platform.play(round(STEP * FLICKS))


def spoken(both: Line) -> bytes:
    return b"".join(message.pcm for message in both.taken if isinstance(message, Audio))


class Synthesizer:
    """Gives chunks, each after a pause; notes whether it was closed."""

    def __init__(self, chunks: Iterable[bytes], pause: float = 0.0) -> None:
        self.asked = self.closed = False
        self._chunks = chunks
        self._pause = pause

    async def speech(self) -> AsyncIterator[bytes]:
        self.asked = True
        try:
            for chunk in self._chunks:
                await anyio.sleep(self._pause)
                yield chunk
        finally:
            self.closed = True


def cut(pcm: bytes, sizes: Sequence[int]) -> list[bytes]:
    """The audio in chunks of these sizes, over and over."""
    chunks, start, turn = [], 0, 0
    while start < len(pcm):
        chunks.append(pcm[start : start + sizes[turn % len(sizes)]])
        start += len(chunks[-1])
        turn += 1
    return chunks


@FEW
@given(
    samples=st.integers(0, 4000),
    sizes=st.lists(st.integers(1, 4000), min_size=1, max_size=5),
    lead=st.sampled_from([0.04, 0.1, 0.2, 0.25, 1.0]),
    rate=st.sampled_from([8000, 16000, 64000]),
)
@virtual
async def test_all_is_spoken_without_a_gap_and_little_is_ahead(
    samples: int, sizes: list[int], lead: float, rate: int
) -> None:
    verb = attrs.evolve(
        STREAM, bidirectional_audio=BidirectionalAudio(streaming=True, sample_rate=rate)
    )
    answering = Answering(mode=verb.mode(), stream_rate=rate)
    async with line(verb, answering=answering) as both, anyio.create_task_group() as nursery:
        heard: list[Heard] = []
        nursery.start_soon(playing, both, heard)
        pcm = noise(samples)
        assert await both.app.speak(Synthesizer(cut(pcm, sizes)).speech(), lead=lead)
        assert both.app.statistics.buffered <= lead + 1e-6
        assert both.app.statistics.buffered >= min(lead / 2, samples / rate) - STEP
        await all_blocked()
        while both.platform.statistics.buffered:
            assert both.platform.statistics.buffered <= lead + STEP
            await anyio.sleep(STEP)
        assert not first_difference(spoken(both), pcm)
        assert not first_difference(b"".join(piece.pcm for piece in heard), pcm)
        assert all(one.end == next_.start for one, next_ in itertools.pairwise(heard))
        nursery.cancel_scope.cancel()


@virtual
async def test_at_no_time_is_more_ahead_than_the_lead() -> None:
    ahead: list[float] = []
    async with line(STREAM) as both, anyio.create_task_group() as nursery:

        async def watch() -> None:
            while True:
                ahead.append(both.app.statistics.buffered)
                await anyio.sleep(0.003)

        nursery.start_soon(watch)
        began = current_time()
        assert await both.app.speak(audio(10), lead=0.5)
        assert current_time() - began == pytest.approx(9.5)
        await all_blocked()
        nursery.cancel_scope.cancel()
    assert max(ahead) <= 0.5 + 1e-6
    assert min(ahead[2:]) >= 0.375 - 1e-6
    assert len(both.taken) == 1 + 9.5 / 0.125


@virtual
async def test_who_has_spoken_before_is_counted_in() -> None:
    async with line(STREAM) as both:
        began = current_time()
        await both.app.send_audio(audio(3))
        await both.app.speak(audio(0.1))
        assert current_time() - began == pytest.approx(2.9)
        await anyio.sleep(50)  # no ping is due as the call ends: trio-websocket fails on one then
        began = current_time()
        await both.app.speak(audio(0.2))
        assert current_time() == began


@virtual
async def test_what_is_there_is_not_kept_back_for_what_is_slow_to_come() -> None:
    chunks = [audio(0.03, number) for number in range(5)]
    async with line(STREAM) as both:
        await both.app.speak(Synthesizer(chunks, pause=1.0).speech())
        await all_blocked()
        assert list(both.taken) == [Audio(chunk) for chunk in chunks]


@virtual
async def test_tiny_chunks_are_joined() -> None:
    async with line(STREAM) as both:
        await both.app.speak(Synthesizer(cut(audio(0.05), [3])).speech())
        await all_blocked()
        sizes = [len(message.pcm) for message in both.taken if isinstance(message, Audio)]
        assert sizes == [320, 322, 158]


@virtual
async def test_half_a_sample_at_the_end_is_left_out_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with line(STREAM) as both:
        await both.app.speak(b"\1\0\2")
        await all_blocked()
        assert both.taken == [Audio(b"\1\0")]
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert record.call_sid == CALL_SID  # type: ignore[attr-defined]
        await both.app.speak(b"\1\0")
        await still_works(both)


@virtual
async def test_a_killaudio_of_another_task_ends_it() -> None:
    async with line(STREAM) as both, anyio.create_task_group() as nursery:
        heard: list[Heard] = []
        nursery.start_soon(playing, both, heard)
        synthesizer = Synthesizer(cut(noise(80000), [3001]))

        async def interrupt() -> None:
            await anyio.sleep(1.01)
            await both.app.kill_audio(guard=0.1)

        nursery.start_soon(interrupt)
        mark = await both.app.mark("before")
        assert not await both.app.speak(synthesizer.speech())
        assert current_time() == pytest.approx(1.01)
        assert synthesizer.closed
        await all_blocked()
        assert both.taken[-1] == KillAudio()
        assert both.platform.statistics.buffered == 0
        assert len(spoken(both)) <= (1.01 + 0.2) * 16000
        assert await both.app.speak(audio(0.1))
        assert current_time() == pytest.approx(1.01 + 0.1)
        assert await mark.wait() is Outcome.PLAYED
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("pause", [0.0, 9.0])
@virtual
async def test_who_cancels_it_kills_what_is_ahead(pause: float) -> None:
    async with line(STREAM) as both:
        synthesizer = Synthesizer(cut(audio(10), [4000]), pause=pause)
        with anyio.move_on_after(1) as scope:
            await both.app.speak(synthesizer.speech())
        assert scope.cancelled_caught
        assert synthesizer.closed
        await both.app.kill_audio(guard=0.1)
        await still_works(both)
        assert both.platform.statistics.buffered == 0


@virtual
async def test_a_killaudio_meets_who_waits_for_the_synthesizer_too() -> None:
    async with line(STREAM) as both, anyio.create_task_group() as nursery:
        synthesizer = Synthesizer([audio(1)], pause=60)

        async def interrupt() -> None:
            await anyio.sleep(1)
            await both.app.kill_audio()

        nursery.start_soon(interrupt)
        assert not await both.app.speak(synthesizer.speech())
        assert current_time() == 1
        assert synthesizer.closed


@virtual
async def test_nothing_of_it_goes_out_behind_the_killaudio() -> None:
    """Whichever of the two is first to have room in the outbox, which is by chance in trio."""
    for _ in range(20):
        narrow = {"lockstep": True, "answering": small_outbox(STREAM)}
        async with line(STREAM, **narrow) as both, anyio.create_task_group() as nursery:
            both.platform_stream.shut()
            synthesizer = Synthesizer([audio(0.1)] * 10)
            nursery.start_soon(partial(both.app.speak, synthesizer.speech(), lead=math.inf))
            await all_blocked()
            nursery.start_soon(both.app.kill_audio)
            await all_blocked()
            both.platform_stream.open()
            await all_blocked()
            assert both.taken[-1] == KillAudio()


@virtual
async def test_the_next_speaks_while_the_one_before_still_closes_its_generator() -> None:
    async def slow_to_close() -> AsyncIterator[bytes]:
        try:
            while True:
                yield audio(1)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(5)
            closed_at.append(current_time())

    closed_at: list[float] = []
    async with line(STREAM) as both, anyio.create_task_group() as nursery:
        nursery.start_soon(both.app.speak, slow_to_close())
        await anyio.sleep(1)
        await both.app.kill_audio()
        assert await both.app.speak(audio(2))
        assert current_time() == pytest.approx(1 + 2 - 0.2)
        nursery.start_soon(both.app.speak, audio(60))
        await anyio.sleep(10)
        assert closed_at == [pytest.approx(6)]
        with pytest.raises(BUSY):
            await both.app.speak(audio(1))
        nursery.cancel_scope.cancel()


@virtual
async def test_a_hang_up_ends_it() -> None:
    async with line(STREAM) as both, anyio.create_task_group() as nursery:
        synthesizer = Synthesizer(cut(audio(60), [4000]))

        async def hang_up() -> None:
            await anyio.sleep(1)
            both.platform.hang_up()

        nursery.start_soon(hang_up)
        with pytest.raises(CallEnded, match="the other end closed with 1000"):
            await both.app.speak(synthesizer.speech())
        assert synthesizer.closed
        again = Synthesizer([audio(1)])
        with pytest.raises(CallEnded):
            await both.app.speak(again.speech())
        assert not again.asked


@virtual
async def test_a_synthesizer_that_fails_is_heard_of() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield audio(0.1)
        raise ValueError("no voice")

    async with line(STREAM) as both:
        with pytest.raises(ValueError, match="no voice"):
            await both.app.speak(broken())
        assert await both.app.speak(audio(0.1))
        await all_blocked()
        assert spoken(both) == audio(0.2)


@pytest.mark.parametrize(
    "verb", [CLIPS, attrs.evolve(CLIPS, bidirectional_audio=BidirectionalAudio(enabled=False))]
)
@virtual
async def test_it_takes_a_stream(verb: ListenVerb) -> None:
    async with line(verb) as both:
        synthesizer = Synthesizer([audio(1)])
        with pytest.raises(LocalProtocolError, match=r"needs streaming mode, .*; pass mode="):
            await both.app.speak(synthesizer.speech())
        assert not synthesizer.asked


@pytest.mark.parametrize("speech", [bytearray(320), [bytes(320)], iter([bytes(320)]), "hello"])
@virtual
async def test_what_is_no_speech_is_refused_at_once(speech: Any) -> None:
    kind = type(speech).__name__
    async with line(STREAM) as both:
        with pytest.raises(TypeError, match=f"or an async iterable of bytes, not {kind}$"):
            await both.app.speak(speech)
        await still_works(both)


@virtual
async def test_one_speaks_at_a_time_and_not_without_a_lead() -> None:
    async with line(STREAM) as both, anyio.create_task_group() as nursery:
        nursery.start_soon(both.app.speak, audio(5))
        await all_blocked()
        with pytest.raises(BUSY):
            await both.app.speak(audio(1))
        nursery.cancel_scope.cancel()
    async with line(STREAM) as both:
        for lead in (0.03, 0.0, -1.0, math.nan, -math.inf):
            with pytest.raises(ValueError, match=f"lead must be at least 0.04 s; it is {lead:g}"):
                await both.app.speak(audio(1), lead=lead)
        assert both.app.statistics.messages_sent == 0


@virtual
async def test_with_a_lead_of_infinity_all_goes_out_at_once() -> None:
    async with line(STREAM) as both:
        assert await both.app.speak(Synthesizer(cut(audio(60), [16000])).speech(), lead=math.inf)
        assert current_time() == 0
        await all_blocked()
        assert spoken(both) == audio(60)


@virtual
async def test_what_was_said_tells_how_much_of_it_was_heard() -> None:
    async with line(STREAM) as both:
        assert both.app.spoken is None
        said = await both.app.speak(audio(1))
        assert said is both.app.spoken
        assert (bool(said), said.interrupted, said.seconds) == (True, False, 1)
        assert said.heard == pytest.approx(0.8)
        assert repr(said) == "<Spoken: sent, 0.80 of 1.00 s heard>"
        await anyio.sleep(0.1)
        await both.app.kill_audio()
        await anyio.sleep(1)
        assert said.heard == pytest.approx(0.9)


@virtual
async def test_who_cancels_it_can_still_ask_how_much_was_heard() -> None:
    async with line(STREAM) as both:
        with anyio.move_on_after(0.5):
            await both.app.speak(audio(10))
        await both.app.kill_audio()
        said = both.app.spoken
        assert said is not None
        assert said.interrupted
        assert said.heard == pytest.approx(0.5)
        assert repr(said).startswith("<Spoken: interrupted, 0.50 of ")


class Stored:
    """Speech that is no generator, so there is nothing to close."""

    def __init__(self, *chunks: Any) -> None:
        self._chunks = [*chunks]

    def __aiter__(self) -> Stored:
        return self

    async def __anext__(self) -> Any:
        await anyio.sleep(0)
        if not self._chunks:
            raise StopAsyncIteration
        return self._chunks.pop(0)


@virtual
async def test_speech_may_come_from_any_iterable_of_bytes() -> None:
    async with line(STREAM) as both:
        await both.app.speak(Stored(audio(0.1), audio(0.1)))
        with pytest.raises(TypeError, match=r"^speech must come in bytes of L16, not str$"):
            await both.app.speak(Stored("text"))
        await both.app.speak(audio(0.1))
        await all_blocked()
        assert spoken(both) == audio(0.3)


@pytest.mark.parametrize("rate", [8000, 24000])
@virtual
async def test_sentences_with_marks_are_heard_whole_where_marks_are_inside_the_stream(
    rate: int,
) -> None:
    """Also behind a killAudio that leaves markers stuck."""
    both_ways = BidirectionalAudio(streaming=True, sample_rate=rate)
    verb = ListenVerb(url="ws://app.example/", bidirectional_audio=both_ways)
    heard: list[Heard] = []

    async def said(call: HandlerCall, level: int, *, lead: float = 0.2) -> Playback:
        await call.speak(level.to_bytes(2, "little") * (rate // 2), lead=lead)
        return await call.mark(str(level))

    answering = Answering(verb=verb, profile=DEPLOYED)
    async with (
        line(verb, platform=DEPLOYED, answering=answering) as both,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(playing, both, heard)
        for start in (1, 21, 41):
            marks = [await said(both.app, (start + n) * 100) for n in range(5)]
            assert [await mark.wait() for mark in marks] == [Outcome.PLAYED] * 5
            killed = [await said(both.app, (start + n) * 100, lead=2.0) for n in range(10, 14)]
            await both.app.kill_audio()
            assert await killed[-1].wait() is Outcome.CLEARED
        tasks.cancel_scope.cancel()
    samples = Counter(memoryview(b"".join(piece.pcm for piece in heard)).cast("h"))
    for start in (1, 21, 41):
        assert all(samples[(start + n) * 100] >= 4000 - 2 for n in range(5))
        assert samples[(start + 13) * 100] < 4000 - 2
