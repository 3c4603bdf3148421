"""The application's end: cancelling, waiting, unread audio, the end of a call."""

from __future__ import annotations

import logging
import math

import anyio
import attrs
import pytest

from listenproto import (
    DEPLOYED,
    DOCUMENTED,
    FLICKS,
    Answering,
    Audio,
    CallEnded,
    CallEvent,
    Closed,
    Dropped,
    Dtmf,
    HandlerCall,
    Limits,
    ListenEnd,
    ListenVerb,
    LocalProtocolError,
    MixType,
    Mode,
    Outcome,
    Payload,
    Peer,
    Profile,
    TraceMoment,
    UnknownMessage,
    UnreadAudioError,
)
from tests.call_support import CALL_SID, CLIPS, STREAM, audio, clip, small_outbox
from tests.differing import first_difference
from tests.runtime_support import (
    BUSY,
    Line,
    all_blocked,
    bare,
    current_time,
    fill_the_outbox,
    line,
    still_works,
    virtual,
)
from tests.trio_support import AppEnd, serve_over

pytestmark = pytest.mark.usefixtures("each_end")


@virtual
async def test_a_guard_time_is_a_time() -> None:
    async with line(STREAM) as both:
        for guard in (math.nan, -0.1, -math.inf):
            said = f"guard must be 0 or more seconds; it is {guard:g}"
            with pytest.raises(ValueError, match=said):
                await both.app.kill_audio(guard=guard)
        assert both.app.statistics.messages_sent == 0
        await both.app.send_audio(audio(0.1))


@virtual
async def test_the_guard_time_holds_back_playing_only() -> None:
    async with line(STREAM) as both:
        await both.app.kill_audio(guard=5.0)
        killed_at = current_time()
        await both.app.clear_marks()
        await both.app.kill_audio(guard=0.1)
        assert current_time() == killed_at
        await both.app.send_audio(audio(0.1))
        assert current_time() == killed_at + 5.0


async def read_on(app: HandlerCall, events: list[CallEvent] | None = None) -> None:
    async for event in app:
        if events is not None:
            events.append(event)


each_platform = pytest.mark.parametrize("profile", [DOCUMENTED, DEPLOYED], ids=lambda p: p.name)
iterating_or_not = pytest.mark.parametrize("iterating", [True, False])


@each_platform
@iterating_or_not
@virtual
async def test_clips_end_as_they_do(profile: Profile, iterating: bool) -> None:
    async with anyio.create_task_group() as nursery, line(CLIPS, platform=profile) as both:
        if iterating:
            nursery.start_soon(read_on, both.app)
        clips = [await both.app.play(clip(1)) for _ in range(11)]
        assert clips[10].outcome is Outcome.REFUSED
        assert await clips[10].wait() is Outcome.REFUSED
        await both.hear(1.0)
        assert await clips[0].wait() is Outcome.PLAYED
        assert clips[1].outcome is None
        assert await clips[1].wait(timeout=3.0) is Outcome.TIMED_OUT
        await both.hear(1.0)
        assert await clips[1].wait() is Outcome.PLAYED
        await both.app.kill_audio()
        assert await clips[2].wait() is Outcome.FLUSHED
        assert await clips[9].wait() is Outcome.FLUSHED
        lost = await both.app.play(clip(1))
        both.platform.hang_up()
        assert await lost.wait() is Outcome.LOST


@each_platform
@iterating_or_not
@virtual
async def test_marks_end_as_they_do(profile: Profile, iterating: bool) -> None:
    async with anyio.create_task_group() as nursery, line(STREAM, platform=profile) as both:
        if iterating:
            nursery.start_soon(read_on, both.app)
        marks = []
        for _ in range(30):
            await both.app.send_audio(audio(1))
            marks.append(await both.app.mark("same"))
        refused = await both.app.mark("same")
        assert await refused.wait() is Outcome.REFUSED
        await both.hear(1.02)  # deployed platforms are up to a frame later
        assert await marks[0].wait() is Outcome.PLAYED
        assert await marks[1].wait(timeout=3.0) is Outcome.TIMED_OUT
        await both.hear(1.0)
        assert await marks[1].wait() is Outcome.PLAYED
        await both.app.kill_audio()
        await both.hear(0.02)
        assert [await mark.wait() for mark in marks[2:]] == [Outcome.CLEARED] * 28
        await both.app.send_audio(audio(1))
        forgotten = await both.app.mark("m")
        await both.app.clear_marks()
        assert await forgotten.wait() is Outcome.FLUSHED
        lost = await both.app.mark("m")
        both.platform.hang_up()
        assert await lost.wait() is Outcome.LOST


@virtual
async def test_marks_of_one_name_are_told_apart_by_their_order() -> None:
    async with line(STREAM) as both:
        first = await both.app.mark("m")
        await both.app.send_audio(audio(1))
        second = await both.app.mark("m")
        assert await first.wait() is Outcome.PLAYED
        assert second.outcome is None
        await both.hear(1.0)
        assert await second.wait() is Outcome.PLAYED


@virtual
async def test_a_wait_without_timeout_allows_for_what_is_to_play_and_ten_seconds() -> None:
    """LP-MARK-17."""
    async with line(CLIPS) as clips, line(STREAM) as stream:
        start = current_time()
        await clips.app.play(clip(2))
        second = await clips.app.play(clip(1))
        await stream.app.send_audio(audio(5))
        mark = await stream.app.mark("m")
        assert await second.wait() is Outcome.TIMED_OUT
        assert current_time() == start + 2 + 1 + 10
        assert await mark.wait() is Outcome.TIMED_OUT
        assert current_time() == start + 5 + 10
        await stream.app.send_audio(audio(60))
        await stream.app.kill_audio()
        behind = await stream.app.mark("behind")
        start = current_time()
        stream.platform_stream.shut()
        assert await behind.wait() is Outcome.TIMED_OUT
        assert current_time() == start + 10


@virtual
async def test_a_playback_that_is_over_does_not_wait() -> None:
    async with line(STREAM) as both:
        mark = await both.app.mark("m")
        await mark.wait()
        assert await mark.wait(timeout=0) is Outcome.PLAYED
        assert repr(mark) == "<Playback of 'm': played>"


@virtual
async def test_a_late_answer_still_comes_to_whoever_gave_up_on_it() -> None:
    async with line(CLIPS) as both:
        playback = await both.app.play(clip(1))
        assert await playback.wait(timeout=1.0) is Outcome.TIMED_OUT
        assert playback.outcome is None
        await both.hear(1.0)
        assert await playback.wait() is Outcome.PLAYED


@virtual
async def test_a_refusal_sends_nothing_and_any_other_fault_raises() -> None:
    async with line(CLIPS) as both:
        await both.app.play(clip(1, id="c"))
        with pytest.raises(LocalProtocolError) as twice:
            await both.app.play(clip(1, id="c"))
        assert twice.value.clause == "LP-CLIP-15"
        with pytest.raises(LocalProtocolError) as mark:
            await both.app.mark("m")
        assert mark.value.clause == "LP-MARK-1"
        await all_blocked()
        assert len(both.taken) == 1
        assert both.app.statistics.messages_sent == 1


@each_platform
@virtual
async def test_a_clip_behind_a_killed_one_is_waited_for(profile: Profile) -> None:
    answering = Answering(mode=CLIPS.mode(), profile=profile)
    async with line(CLIPS, platform=profile, answering=answering) as both:
        await both.app.play(clip(1))
        await both.app.kill_audio()
        await both.hear(0.02)
        await both.platform.capture(audio(7))
        await all_blocked()
        behind = await both.app.play(clip(1))
        await both.hear(1.0)
        assert await behind.wait() is Outcome.PLAYED


def unread(policy: str, verb: ListenVerb = STREAM, **limits: float) -> Answering:
    return Answering(mode=verb.mode(), unread=policy, limits=Limits(**limits))


HOLD = unread("hold", unread_seconds=0.5)


async def talk_on(both: Line, seconds: float) -> None:
    """Capture so much audio, in which each 20 ms are told from all others."""
    for number in range(round(seconds * 50)):
        await both.platform.capture(audio(0.02, number))


@virtual
async def test_hold_stops_the_platform_and_loses_nothing() -> None:
    limits = Limits(outbox_size=1000)
    options = {"lockstep": True, "answering": HOLD, "limits": limits, "step": 500}
    async with anyio.create_task_group() as nursery, line(STREAM, **options) as both:
        nursery.start_soon(talk_on, both, 10)
        await all_blocked()
        received = both.app.session.samples_received
        assert 0.5 * 8000 <= received < 1.0 * 8000
        assert both.platform.task.clock < 1.5 * 8000
        for number in range(500):
            assert await anext(both.app) == Audio(audio(0.02, number))
        assert both.app.samples_dropped == 0
        await still_works(both)


@virtual
async def test_drop_oldest_says_exactly_what_is_missing() -> None:
    answering = unread("drop_oldest", unread_seconds=0.5)
    async with line(STREAM, answering=answering) as both:
        await talk_on(both, 1.0)
        both.platform.key("1")
        await talk_on(both, 0.1)
        both.platform.key("2")
        await talk_on(both, 1.0)
        both.platform.hang_up()
        await all_blocked()
        events: list[CallEvent] = []
        await read_on(both.app, events)
        kinds = [type(event) for event in events if not isinstance(event, Audio)]
        assert kinds == [Dropped, Dtmf, Dropped, Dtmf, Dropped]
        gaps = [event.samples for event in events if isinstance(event, Dropped)]
        assert gaps[:2] == [8000, 800]
        heard = b"".join(event.pcm for event in events if isinstance(event, Audio))
        said = b"".join(audio(0.02, number) for number in range(50))
        assert len(heard) >= 0.4 * 16000
        assert not first_difference(heard, said[gaps[2] * 2 :])
        assert both.app.samples_dropped == sum(gaps)


@virtual
async def test_dropped_stereo_is_counted_in_samples_of_each_channel() -> None:
    verb = attrs.evolve(STREAM, mix_type=MixType.STEREO, sample_rate=16000)
    answering = unread("drop_oldest", unread_seconds=0.5)
    async with line(verb, answering=answering) as both:
        await both.platform.capture(bytes(16000 * 4 * 2))
        both.platform.hang_up()
        await all_blocked()
        events: list[CallEvent] = []
        await read_on(both.app, events)
        dropped, *heard = events
        assert isinstance(dropped, Dropped)
        assert all(isinstance(event, Audio) for event in heard)
        assert dropped.samples + sum(len(event.pcm) // 4 for event in heard) == 32000
        assert dropped.samples >= 1.4 * 16000


@virtual
async def test_keys_are_never_dropped_by_hold() -> None:
    answering = unread("hold", unread_seconds=0.1, unread_events=10)
    async with line(STREAM, lockstep=True, answering=answering) as both:
        for _ in range(100):
            both.platform.key("7")
            await both.platform.capture(audio(0.02))
        both.platform.hang_up()
        await all_blocked()
        events: list[CallEvent] = []
        await read_on(both.app, events)
        assert events.count(Dtmf("7", 800)) == 100


@virtual
async def test_more_keys_than_may_wait_are_dropped_with_a_note() -> None:
    answering = unread("drop_oldest", unread_events=10)
    async with line(STREAM, answering=answering) as both:
        for _ in range(100):
            both.platform.key("7")
        await all_blocked()
        assert await anext(both.app) == Dropped(events=90)
        for _ in range(10):
            assert await anext(both.app) == Dtmf("7", 800)


@virtual
async def test_who_never_iterates_may_wait_for_any_number_of_clips() -> None:
    answering = attrs.evolve(unread("drop_oldest", unread_events=10), mode=CLIPS.mode())
    async with line(CLIPS, answering=answering) as both:
        for _ in range(30):
            playback = await both.app.play(clip(0.02))
            await all_blocked()
            both.platform.play(FLICKS)
            assert await playback.wait() is Outcome.PLAYED


@virtual
async def test_a_second_task_cannot_iterate() -> None:
    async with line(STREAM) as both, anyio.create_task_group() as nursery:
        nursery.start_soon(both.app.__anext__)
        await all_blocked()
        with pytest.raises(BUSY):
            await anext(both.app)
        both.platform.key("7")


@pytest.mark.parametrize("policy", ["hold", "drop_oldest"])
@virtual
async def test_tiny_messages_are_bounded_too(policy: str) -> None:
    answering = unread(policy, unread_seconds=0.5)
    calls: list[HandlerCall] = []

    async def handler(call: HandlerCall) -> None:
        calls.append(call)
        await anyio.sleep_forever()

    async with bare(handler, answering=answering, lockstep=True) as (platform, _):
        await platform.say("{}")
        sent = 0
        with anyio.move_on_after(10.0):
            while sent < 3000:
                await platform.say(*[b"xy"] * 100)
                sent += 100
        (call,) = calls
        kept = call.session.samples_received - call.samples_dropped
        assert 0 < kept <= 500
        assert (sent < 3000) is (policy == "hold")


@pytest.mark.parametrize("reader", ["nobody", "this task", "this task, before"])
@virtual
async def test_a_wait_that_unread_audio_would_block_for_ever_says_so(reader: str) -> None:
    options = {"lockstep": True, "answering": HOLD}
    async with anyio.create_task_group() as nursery, line(STREAM, **options) as both:
        await both.app.send_audio(audio(1))
        mark = await both.app.mark("m")
        if reader != "nobody":
            nursery.start_soon(talk_on, both, 0.02)
            await anext(both.app)
        nursery.start_soon(talk_on, both, 5)
        if reader == "this task, before":
            await all_blocked()
        for wait in (mark.wait, both.app.drain):
            with pytest.raises(UnreadAudioError, match="'m'"):
                await wait()
        await read_on_until_held_no_more(both)
        await both.hear(1.0)
        assert await mark.wait() is Outcome.PLAYED


@pytest.mark.parametrize("ends", ["before", "meanwhile"])
@virtual
async def test_a_reader_that_has_ended_reads_no_more(ends: str) -> None:
    options = {"lockstep": True, "answering": HOLD}
    async with anyio.create_task_group() as nursery, line(STREAM, **options) as both:
        await both.app.send_audio(audio(1))
        mark = await both.app.mark("m")

        ended = anyio.Event()

        async def read_one() -> None:
            await anext(both.app)
            if ends == "meanwhile":
                await all_blocked()
            ended.set()

        nursery.start_soon(talk_on, both, 5.02)
        async with anyio.create_task_group() as readers:
            readers.start_soon(read_one)
            if ends == "before":
                await all_blocked()
                assert ended.is_set()
            with pytest.raises(UnreadAudioError, match="'m'"):
                await mark.wait()
        await read_on_until_held_no_more(both)
        await both.hear(1.0)
        assert await mark.wait() is Outcome.PLAYED


async def read_on_until_held_no_more(both: Line) -> None:
    for _ in range(250):
        await anext(both.app)


@virtual
async def test_a_wait_is_fine_while_another_task_reads() -> None:
    options = {"lockstep": True, "answering": HOLD}
    async with anyio.create_task_group() as nursery, line(STREAM, **options) as both:
        await both.app.send_audio(audio(1))
        mark = await both.app.mark("m")
        slowly = anyio.Event()

        async def read_slowly() -> None:
            async for _ in both.app:
                slowly.set()
                await anyio.sleep(0.1)

        nursery.start_soon(read_slowly)
        nursery.start_soon(talk_on, both, 5)
        await slowly.wait()
        await both.hear(1.0)
        assert await mark.wait(timeout=60) is Outcome.PLAYED


@pytest.mark.parametrize("where", ["for room", "for the guard time"])
@virtual
async def test_a_hang_up_meets_whoever_waits_to_send(where: str) -> None:
    options = {"lockstep": True, "answering": small_outbox(STREAM), "step": 100}
    ended: list[str] = []
    # trio-websocket tells of a close when it has answered it: here, behind what is stuck.
    untold = where == "for room" and AppEnd.serve is serve_over
    how = "connection lost" if untold else "the other end closed with 1000"

    async def send(app: HandlerCall) -> None:
        with pytest.raises(CallEnded) as error:
            await app.send_audio(audio(0.1))
        ended.append(str(error.value))

    async with line(STREAM, **options) as both:
        if where == "for room":
            await fill_the_outbox(both)
        else:
            await both.app.kill_audio(guard=0.1)
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(send, both.app)
            nursery.start_soon(send, both.app)
            await all_blocked()
            assert ended == []
            hung_up_at = current_time()
            both.platform.hang_up()
        assert current_time() <= hung_up_at + (Limits().close_time if untold else 0.1)
    assert ended == [f"the call is over: {how}"] * 2


@virtual
async def test_nothing_can_be_sent_once_the_call_is_over() -> None:
    async with line(CLIPS) as hung_up, line(CLIPS) as closed, line(CLIPS) as left:
        hung_up.platform.hang_up()
        await hung_up.platform.over()
        with pytest.raises(CallEnded, match="the other end closed with 1000"):
            await hung_up.app.play(clip(1))
        await closed.app.close(3000, "enough")
        with pytest.raises(CallEnded, match="this end closed it"):
            await closed.app.kill_audio()
        assert closed.platform.closed == Closed(3000, "enough", clean=True)
        left.platform_stream.shut()
        await left.app.disconnect()
        with pytest.raises(CallEnded, match="this end has disconnected"):
            await left.app.play(clip(1))


@virtual
async def test_iterating_ends_with_the_call_and_behind_all_that_came() -> None:
    async with line(STREAM) as both:
        await talk_on(both, 1.0)
        both.platform.key("#")
        both.platform.hang_up()
        await both.platform.over()
        events: list[CallEvent] = []
        await read_on(both.app, events)
        assert events == [*(Audio(audio(0.02, n)) for n in range(50)), Dtmf("#", 800)]
        with pytest.raises(StopAsyncIteration):
            await anext(both.app)
        assert both.app.closed == Closed(1000, "", clean=True)


@virtual
async def test_a_platform_that_vanishes_is_told_from_one_that_hangs_up() -> None:
    async with line(CLIPS) as both:
        playback = await both.app.play(clip(1))
        await both.lose()
        await read_on(both.app)
        assert both.app.closed == Closed(1006, "", clean=False)
        assert await playback.wait() is Outcome.LOST
        with pytest.raises(CallEnded, match="connection lost"):
            await both.app.play(clip(1))
        await both.platform.over()
        assert both.platform.result is not None
        assert both.platform.result.end is ListenEnd.LOST


@virtual
async def test_a_sender_learns_of_a_lost_connection_while_reading_is_held() -> None:
    ended: list[str] = []

    async def send(app: HandlerCall) -> None:
        with pytest.raises(CallEnded) as error:
            await app.send_audio(audio(0.1))
        ended.append(str(error.value))

    answering = attrs.evolve(HOLD, limits=Limits(unread_seconds=0.5, outbox_size=1000))
    options = {"lockstep": True, "answering": answering, "step": 100}
    async with line(STREAM, **options) as both, anyio.create_task_group() as nursery:
        nursery.start_soon(talk_on, both, 5)
        await all_blocked()
        await fill_the_outbox(both)
        nursery.start_soon(send, both.app)
        await all_blocked()
        assert ended == []
        await both.lose()
        await all_blocked()
        await send(both.app)
        assert ended == ["the call is over: connection lost"] * 2


@virtual
async def test_the_outbox_is_bounded() -> None:
    async with line(STREAM, lockstep=True, answering=small_outbox(STREAM)) as both:
        both.platform_stream.shut()
        with anyio.move_on_after(10):
            while True:
                await both.app.send_audio(audio(0.01))
                assert both.app.core.link.connection.waiting < 1000 + len(audio(0.01))
        assert both.app.core.link.connection.waiting >= 1000
        both.platform_stream.open()


@virtual
async def test_a_disconnect_is_answered_by_a_close() -> None:
    async with line(STREAM) as both:
        await talk_on(both, 0.1)
        await both.app.disconnect()
        events: list[CallEvent] = []
        await read_on(both.app, events)
        assert events == [Audio(audio(0.02, n)) for n in range(5)]
        assert both.app.closed == Closed(1000, "", clean=True)
        assert both.platform.result is not None
        assert both.platform.result.end is ListenEnd.DISCONNECT


@virtual
async def test_a_call_tells_about_itself() -> None:
    async with line(CLIPS) as both:
        assert both.app.call_sid == CALL_SID
        assert both.app.metadata.attributes["from"] == "+15550100"
        assert both.app.request.path == "/"
        assert both.app.mode is CLIPS.mode()
        assert repr(both.app) == "<Call call-1>"


@virtual
async def test_a_mark_that_was_lost_does_not_take_the_answer_of_its_namesake() -> None:
    answering = Answering(mode=STREAM.mode(), profile=DEPLOYED)
    async with line(STREAM, answering=answering) as both:
        await both.app.send_audio(audio(30.0))
        lost = await both.app.mark("m")
        await all_blocked()
        both.platform.task.session.playout.clear_marks()  # so deployed platforms lose them
        assert await lost.wait() is Outcome.TIMED_OUT
        again = await both.app.mark("m")
        await both.hear(30.2)  # and what has reset the stream
        assert await again.wait() is Outcome.PLAYED


@virtual
async def test_large_messages_that_nobody_reads_are_bounded_by_their_size() -> None:
    limits = Limits(message_size=100_000)
    answering = Answering(mode=STREAM.mode(), unread="drop_oldest", limits=limits)
    async with line(STREAM, answering=answering) as both:
        large = UnknownMessage({"type": "news", "text": "." * 30_000})
        for _ in range(10):
            both.platform.task.session.send(large)
        both.carry()
        await all_blocked()
        assert await anext(both.app) == Dropped(events=7)
        assert [await anext(both.app) for _ in range(3)] == [large] * 3


@pytest.mark.parametrize("told", [1, 2, 3])
@virtual
async def test_a_tap_that_fails_is_told_no_more_and_the_call_goes_on(
    told: int, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[object] = []

    def tap(sender: Peer, payload: Payload | TraceMoment) -> None:
        heard.append(payload)
        if len(heard) == told:
            raise OSError("disk full")

    answering = Answering(mode=Mode.STREAMING, tap=lambda session: tap)
    async with line(STREAM, answering=answering) as both:
        await both.app.send_audio(audio(0.1))
        await still_works(both)
    assert len(heard) == told
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage().endswith(": the tap failed and is not called again")
    assert record.call_sid == (None if told == 1 else CALL_SID)  # type: ignore[attr-defined]
    assert record.exc_info and str(record.exc_info[1]) == "disk full"
    assert list(both.app.session.passed()) == []


@virtual
async def test_a_reader_has_nothing_to_write() -> None:
    async with line(STREAM) as both:
        await all_blocked()
        connection, writes = both.app.core.link.connection, 0
        data_to_send = connection.data_to_send

        def counted() -> object:
            nonlocal writes
            data = data_to_send()
            writes += bool(data)
            return data

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(connection, "data_to_send", counted)
            for _ in range(10):
                await both.platform.capture(audio(0.02))
                await all_blocked()
            assert (both.app.session.samples_received, writes) == (1600, 0)
            await still_works(both)
            assert writes > 0


@pytest.mark.parametrize("turn", range(8))  # trio shuffles its tasks
@virtual
async def test_a_handler_that_is_cancelled_is_told_so(turn: int) -> None:
    said: list[str] = []

    async def handler(call: HandlerCall) -> None:
        said.append(call.how_it_ended())
        try:
            async for _ in call:
                pass
        finally:
            said.append(call.how_it_ended())
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
            said.append(call.how_it_ended())

    async with bare(handler) as (platform, cancel):
        await platform.say("{}")
        await all_blocked()
        cancel()
    assert said == ["the call goes on"] + ["the call is over: this end was cancelled"] * 2


@virtual
async def test_how_it_ended_is_told() -> None:
    async with line(STREAM) as hung_up, line(STREAM) as left:
        assert hung_up.app.how_it_ended() == "the call goes on"
        hung_up.platform.hang_up()
        await hung_up.platform.over()
        await hung_up.app.close()
        assert hung_up.app.how_it_ended() == "the call is over: the other end closed with 1000"
        await left.app.close()
        assert left.app.how_it_ended() == "the call is over: this end closed it"


@pytest.mark.parametrize("profile", [DOCUMENTED, DEPLOYED], ids=lambda profile: profile.name)
@virtual
async def test_all_clips_are_stopped_at_once(profile: Profile) -> None:
    answering = Answering(mode=Mode.CLIPS, profile=profile)
    async with line(CLIPS, platform=profile, answering=answering) as both:
        clips = [await both.app.play(clip(1)) for _ in range(3)]
        await both.hear(0.5)
        await anyio.sleep(0.5)
        assert clips[0].heard == pytest.approx(0.5)
        await both.app.stop_clips()
        await both.hear(1)
        outcomes = [await one.wait() for one in clips]
        assert outcomes == [Outcome.FLUSHED] * 3
        assert both.platform.statistics.buffered == 0
        assert await both.app.kill_audio() is None
        await still_works(both)
