"""A listen verb being carried out: captured audio, keys, pause, and every way it ends."""

from __future__ import annotations

import array
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listenproto import (
    DEPLOYED,
    DOCUMENTED,
    FLICKS,
    Close,
    ListenEnd,
    ListenTask,
    ListenVerb,
    LocalProtocolError,
    Mode,
    Peer,
    Profile,
)
from tests.differing import first_difference

LOUD = array.array("h", [20000]).tobytes()
QUIET = array.array("h", [255]).tobytes()


def listening(profile: Profile = DOCUMENTED, **options: object) -> ListenTask:
    """A task that is connected, its metadata taken out of the way."""
    verb = ListenVerb.from_json({"url": "ws://app.example/", **options})
    task = ListenTask(verb, {"callSid": "c", "callStatus": "in-progress"}, profile=profile)
    task.connected()
    next(task.data_to_send())
    return task


def sent(task: ListenTask) -> list[object]:
    """What goes out: texts as JSON, audio joined to one piece, the close."""
    out: list[object] = []
    for payload in task.data_to_send():
        if isinstance(payload, bytes) and out and isinstance(out[-1], bytes):
            out[-1] += payload
        else:
            out.append(json.loads(payload) if isinstance(payload, str) else payload)
    return out


def test_metadata_goes_first_and_holds_what_the_verb_adds() -> None:
    verb = ListenVerb.from_json(
        {
            "url": "ws://app.example/",
            "sampleRate": 16000,
            "mixType": "stereo",
            "metadata": {"room": 7, "from": "the verb wins"},
        }
    )
    task = ListenTask(verb, {"callSid": "c", "from": "+15550100"})
    assert list(task.data_to_send()) == []
    task.connected()
    (text,) = task.data_to_send()
    assert text == (
        '{"sampleRate":16000,"mixType":"stereo","callSid":"c","from":"the verb wins","room":7}'
    )


def test_the_clock_is_what_was_captured_and_the_duration_its_whole_seconds() -> None:
    for samples, duration in ((0, 0), (7999, 0), (8000, 1), (15_999, 1)):
        task = listening()
        assert task.clock == 0
        task.capture(bytes(2 * samples))
        assert task.clock == samples
        task.hang_up()
        assert task.result is not None and task.result.duration == duration


def test_what_passes_is_kept_where_asked_for_alone() -> None:
    verb = ListenVerb(url="ws://app.example/")
    for keep in (None, False, True):
        options = {} if keep is None else {"keep_passed": keep}
        task = ListenTask(verb, {}, **options)
        task.connected()
        assert len(list(task.passed())) == bool(keep)


def test_metadata_beyond_8192_bytes_is_refused_at_once() -> None:
    verb = ListenVerb(url="ws://app.example/", metadata={"note": "x" * 8192})
    with pytest.raises(LocalProtocolError, match="at most 8192"):
        ListenTask(verb, {})
    assert ListenTask(verb, {}, profile=DEPLOYED).result is None


def test_audio_goes_out_in_messages_of_20_ms() -> None:
    for options, size in (
        ({}, 320),
        ({"mixType": "stereo"}, 640),
        ({"sampleRate": 64000, "mixType": "stereo"}, 5120),
        ({"sampleRate": 24000, "mixType": "mixed"}, 960),
    ):
        task = listening(**options)
        task.capture(bytes(size * 2 - 4))
        assert [len(p) for p in task.data_to_send() if isinstance(p, bytes)] == [size]
        task.capture(bytes(4))
        assert [len(p) for p in task.data_to_send() if isinstance(p, bytes)] == [size]


@given(pieces=st.lists(st.integers(0, 900), max_size=20))
def test_audio_is_the_same_however_it_is_captured(pieces: list[int]) -> None:
    task = listening()
    pcm = array.array("h", range(sum(pieces))).tobytes()
    at = 0
    for piece in pieces:
        task.capture(pcm[2 * at : 2 * (at + piece)])
        at += piece
    task.hang_up()
    *audio, close = sent(task)
    assert not first_difference(b"".join(p for p in audio if isinstance(p, bytes)), pcm)
    assert close == Close(1000)


def test_half_a_frame_and_audio_before_the_connection_are_refused() -> None:
    with pytest.raises(LocalProtocolError, match="whole number") as caught:
        listening(mixType="stereo").capture(bytes(6))
    assert caught.value.clause == "LP-AUD-1"
    task = ListenTask(ListenVerb(url="ws://app.example/"), {})
    with pytest.raises(LocalProtocolError) as caught:
        task.capture(bytes(2))
    assert caught.value.clause == "LP-META-1"


def test_hang_up_flushes_what_was_captured_and_closes() -> None:
    task = listening()
    task.capture(LOUD * 8123)
    task.hang_up()
    assert sent(task) == [LOUD * 8123, Close(1000)]
    assert task.result is not None
    assert (task.result.end, task.result.duration) == (ListenEnd.HANGUP, 1)
    task.capture(LOUD)
    task.hang_up()
    task.key("5")
    assert sent(task) == []


def test_dtmf_is_passed_where_asked_for() -> None:
    for passes, expected in (
        (False, []),
        (True, [{"event": "dtmf", "dtmf": "5", "duration": "1600"}]),
    ):
        task = listening(passDtmf=passes)
        task.key("5", duration=1600)
        assert sent(task) == expected
    with pytest.raises(LocalProtocolError, match=r"^'x' is not a key"):
        listening().key("x")
    with pytest.raises(LocalProtocolError, match=f"^'{'x' * 59} is not a key"):
        listening().key("x" * 1000)


@pytest.mark.parametrize(
    ("profile", "finish_on_key", "key", "ends"),
    [
        (DOCUMENTED, "#", "#", True),
        (DOCUMENTED, "12#", "2", True),
        (DOCUMENTED, "12#", "3", False),
        (DOCUMENTED, "", "1", False),
        (DEPLOYED, "#", "#", True),
        (DEPLOYED, "12#", "2", False),
    ],
)
def test_finish_on_key(profile: Profile, finish_on_key: str, key: str, ends: bool) -> None:
    task = listening(profile, finishOnKey=finish_on_key, passDtmf=True)
    task.key(key)
    dtmf = {"event": "dtmf", "dtmf": key, "duration": "800"}
    assert sent(task) == ([dtmf, Close(1000)] if ends else [dtmf])
    if ends:
        assert task.result is not None
        assert (task.result.end, task.result.digits) == (ListenEnd.KEY, key)


@given(pieces=st.lists(st.integers(1, 3000), min_size=9, max_size=9))
def test_max_length_is_exact_to_the_sample(pieces: list[int]) -> None:
    task = listening(maxLength=0.5001)
    for piece in pieces:
        task.capture(LOUD * piece)
    if sum(pieces) < 4000:
        assert task.result is None
        return
    assert sent(task) == [LOUD * 4000, Close(1000)]
    assert task.result is not None
    assert task.result.end is ListenEnd.MAX_LENGTH


@given(pieces=st.lists(st.tuples(st.booleans(), st.integers(1, 900)), max_size=30))
def test_timeout_is_silence_of_exactly_that_length(pieces: list[tuple[bool, int]]) -> None:
    task = listening(timeout=0.1)
    track = b"".join((LOUD if loud else QUIET) * samples for loud, samples in pieces)
    silent, end = 0, None
    for index in range(len(track) // 2):
        silent = silent + 1 if track[2 * index : 2 * index + 2] == QUIET else 0
        if silent == 800:
            end = index + 1
            break
    for start in range(0, len(track), 322):
        task.capture(track[start : start + 322])
    if end is None:
        assert task.result is None
    else:
        assert task.result is not None
        assert task.result.end is ListenEnd.TIMEOUT
        assert sent(task) == [track[: 2 * end], Close(1000)]


def test_a_deployed_platform_ignores_the_timeout() -> None:
    task = listening(timeout=0.1, profile=DEPLOYED)
    task.capture(QUIET * 8000)
    assert task.result is None


def test_silence_means_every_channel() -> None:
    task = listening(timeout=0.1, mixType="stereo")
    task.capture((QUIET + LOUD) * 1600)
    assert task.result is None
    task.capture((QUIET + QUIET) * 800)
    assert task.result is not None


def test_of_two_ends_at_once_the_first_in_the_list_counts() -> None:
    task = listening(timeout=0.1, maxLength=0.1)
    task.capture(QUIET * 800)
    assert task.result is not None
    assert task.result.end is ListenEnd.MAX_LENGTH


@pytest.mark.parametrize(("profile", "ends"), [(DOCUMENTED, False), (DEPLOYED, True)])
def test_max_length_in_a_pause(profile: Profile, ends: bool) -> None:
    task = listening(profile, maxLength=1)
    task.capture(LOUD * 4000)
    task.pause()
    task.capture(LOUD * 8000)
    assert (task.result is not None) is ends
    if not ends:
        task.resume()
        task.capture(LOUD * 8000)
        assert sent(task) == [LOUD * 8000, Close(1000)]
        assert task.result is not None
        assert task.result.duration == 2


def test_pause_stops_audio_and_nothing_else() -> None:
    verb = {"streaming": True, "sampleRate": 8000}
    task = listening(passDtmf=True, timeout=0.1, bidirectionalAudio=verb)
    task.pause()
    task.capture(QUIET * 8000)
    task.key("1")
    task.receive('{"type":"mark","data":{"name":"m"}}')
    assert sent(task) == [
        {"event": "dtmf", "dtmf": "1", "duration": "800"},
        {"type": "mark", "data": {"name": "m", "event": "playout"}},
    ]
    assert task.result is None


def test_audio_that_is_lost_counts_as_in_a_pause() -> None:
    task = listening(maxLength=1, timeout=0.5)
    task.capture(LOUD * 4000)
    task.capture(QUIET * 8000, lost=True)
    task.pause(silence=True)
    task.capture(LOUD * 8000, lost=True)
    task.resume()
    task.capture(LOUD * 8000)
    assert sent(task) == [LOUD * 8000, Close(1000)]
    assert task.result is not None
    assert (task.result.end, task.result.duration) == (ListenEnd.MAX_LENGTH, 3)


def test_pause_may_send_silence_instead() -> None:
    task = listening(maxLength=1)
    task.pause(silence=True)
    task.capture(LOUD * 8000)
    assert sent(task) == [bytes(16000), Close(1000)]


def test_disconnect_ends_the_verb() -> None:
    task = listening()
    task.capture(LOUD * 10)
    task.receive('{"type":"disconnect"}')
    assert sent(task) == [Close(1000)]
    assert task.result is not None
    assert task.result.end is ListenEnd.DISCONNECT


@pytest.mark.parametrize(
    ("profile", "end", "duration"),
    [(DOCUMENTED, ListenEnd.HANGUP, 1), (DEPLOYED, ListenEnd.ERROR, None)],
)
def test_an_error_message_ends_a_deployed_verb_and_not_the_connection(
    profile: Profile, end: ListenEnd, duration: int | None
) -> None:
    task = listening(profile)
    task.receive('{"type":"error","message":"no more disk"}')
    task.capture(LOUD * 8000)
    assert not task.ended
    assert sent(task) == [LOUD * 8000]
    task.hang_up()
    assert sent(task) == [Close(1000)]
    assert task.result is not None
    assert (task.result.end, task.result.duration) == (end, duration)
    assert ("dial_call_duration" in task.result.action_hook()) is (duration is not None)


def test_behind_an_error_a_disconnect_ends_no_deployed_listen_but_max_length_does() -> None:
    task = listening(DEPLOYED, maxLength=2)
    task.receive('{"type":"error"}{"type":"disconnect"}')
    task.capture(LOUD * 8000)
    assert not task.ended
    task.capture(LOUD * 8000)
    assert sent(task) == [LOUD * 16000, Close(1000)]
    assert task.result is not None
    assert task.result.end is ListenEnd.ERROR


def test_ends_from_the_other_side() -> None:
    closed, lost = listening(), listening()
    closed.closed(1001)
    lost.connection_lost()
    assert closed.result is not None
    assert lost.result is not None
    assert (closed.result.end, lost.result.end) == (ListenEnd.APP_CLOSED, ListenEnd.LOST)
    assert sent(closed) == sent(lost) == []


@pytest.mark.parametrize(("value", "ends"), [(-256, False), (255, True), (256, False)])
def test_under_256_audio_is_silent_unless_said_otherwise(value: int, ends: bool) -> None:
    task = listening(timeout=1)
    task.capture(array.array("h", [value]).tobytes() * 8000)
    assert task.ended is ends


def test_a_silence_between_two_sounds_counts_to_the_sample() -> None:
    for silent, ends in ((7999, False), (8000, True)):
        task = listening(timeout=1)
        task.capture(LOUD + QUIET * silent + LOUD)
        assert task.ended is ends
        assert task.clock == (8001 if ends else silent + 2)


@pytest.mark.parametrize("key", ["", "12", "E", "a"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        listening().key(key)
    assert caught.value.clause == "LP-DTMF-3"


def test_the_apps_close_is_told_as_it_came() -> None:
    assert listening().closed(1001, "going") == [Close(1001, "going")]


def test_a_close_of_1006_is_a_lost_connection() -> None:
    task = listening()
    task.closed(1006)
    assert task.result is not None
    assert task.result.end is ListenEnd.LOST


def test_a_close_for_no_other_reason_is_a_hang_up() -> None:
    task = listening()
    task.close()
    assert task.result is not None
    assert task.result.end is ListenEnd.HANGUP
    assert sent(task) == [Close(1000)]
    told = listening()
    assert told.closed() == [Close(1000, "")]


def test_a_close_for_another_reason_is_an_error() -> None:
    task = listening()
    task.close(1002, "nonsense")
    assert task.result is not None
    assert task.result.end is ListenEnd.ERROR
    assert sent(task) == [Close(1002, "nonsense")]


def test_the_action_hook_tells_in_snake_case() -> None:
    task = listening(finishOnKey="#")
    task.capture(LOUD * 8000 * 3)
    task.key("#")
    assert task.result is not None
    assert task.result.action_hook() == {
        "call_sid": "c",
        "call_status": "in-progress",
        "dial_call_duration": 3,
        "digits": "#",
    }
    never = ListenTask(ListenVerb(url="ws://app.example/"), {"callSid": "c", "sbcCallid": "s"})
    never.not_connected()
    assert never.result is not None
    assert never.result.action_hook() == {"call_sid": "c", "sbc_callid": "s"}
    assert never.result.end is ListenEnd.NOT_CONNECTED


def test_an_attribute_does_not_speak_for_what_the_platform_tells() -> None:
    attributes = {"callSid": "c", "digits": "1", "dialCallDuration": 9}
    task = ListenTask(ListenVerb(url="ws://app.example/"), attributes)
    task.not_connected()
    assert task.result is not None
    assert task.result.action_hook() == {"call_sid": "c"}
    assert "callSid" not in repr(task.result)  # nor does a log tell who called


def test_an_hour_of_audio_may_wait_for_the_caller() -> None:
    playout = listening().session.playout
    assert playout.has_room(3600 * FLICKS)
    assert not playout.has_room(3600 * FLICKS + 1)


def test_a_beep_is_heard_before_the_connection_and_by_the_caller_alone() -> None:
    """LP-VERB-6."""
    task = ListenTask(ListenVerb(url="ws://app.example/", play_beep=True), {}, keep_passed=True)
    assert task.buffered == FLICKS // 2
    heard = task.play(FLICKS)
    assert sum(len(piece.pcm) for piece in heard) == 8000
    assert task.buffered == 0
    task.connected()
    assert [sender for sender, _ in task.passed()] == [Peer.PLATFORM]


@pytest.mark.parametrize(
    ("nested", "talks", "mode"),
    [(False, False, Mode.CLIPS), (True, False, Mode.OFF), (True, True, Mode.CLIPS)],
)
def test_nested_in_a_dial_the_app_may_not_talk(nested: bool, talks: bool, mode: Mode) -> None:
    task = ListenTask(
        ListenVerb(url="ws://app.example/"),
        {},
        nested_in_dial=nested,
        bidirectional_in_dial=talks,
    )
    assert task.mode is mode


def test_what_was_due_goes_out_before_an_end() -> None:
    task = listening(maxLength=0.02)
    task.receive(
        '{"type":"playAudio","data":{"audioContent":"","audioContentType":"raw","sampleRate":8000}}'
    )
    task.play(FLICKS // 50)
    task.capture(LOUD * 200)
    assert sent(task) == [{"type": "playDone"}, LOUD * 160, Close(1000)]


def test_what_is_left_of_a_beep_is_not_heard_once_connected() -> None:
    task = ListenTask(ListenVerb(url="ws://app.example/", play_beep=True), {})
    task.play(FLICKS // 10)
    task.connected()
    assert task.buffered == 0


def test_any_length_of_time_can_be_asked_for() -> None:
    endless = listening(maxLength=1e301, timeout=1e301)
    endless.capture(QUIET * 8000)
    assert endless.result is None
    short = listening(timeout=1e-9)
    short.capture(LOUD * 100)
    assert short.result is None
    short.capture(QUIET)
    assert short.result is not None
