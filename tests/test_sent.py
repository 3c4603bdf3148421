"""What the app's end knows of what it sent: how it ended, how much was heard, what is ahead."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from listenproto import (
    DEPLOYED,
    DOCUMENTED,
    FLICKS,
    AppSession,
    Audio,
    BidirectionalAudio,
    ClearMarks,
    Close,
    Disconnect,
    KillAudio,
    ListenTask,
    ListenVerb,
    Mark,
    MarkEvent,
    Message,
    Metadata,
    Mode,
    Observer,
    Outcome,
    Peer,
    PlaybackDone,
    PlayDone,
    Profile,
    Sent,
)
from listenproto._clips import starts_at_once
from listenproto._heard import PlayoutEnd, PlayoutFate, PlayoutMark
from tests.recorded_playout import RecordedPlayout
from tests.sent_support import (
    CLIPS,
    RATE,
    STREAMING,
    audio,
    clauses,
    clip,
    done,
    ends,
    event,
    mark,
    opened,
    play,
)

P, C, F, S = Outcome.PLAYED, Outcome.CLEARED, Outcome.FLUSHED, Outcome.SKIPPED
LOST, TIMED_OUT = Outcome.LOST, Outcome.TIMED_OUT
WITH_IDS = attrs.evolve(DOCUMENTED, name="with ids", play_done_data=True)


@pytest.mark.parametrize(
    ("profile", "queued", "front_queued", "at_once"),
    [
        (DOCUMENTED, False, False, False),
        (DOCUMENTED, True, False, False),
        (DEPLOYED, True, True, False),
        (DEPLOYED, True, False, True),
        (DEPLOYED, False, True, True),
        (DEPLOYED, False, False, True),
    ],
)
def test_a_clip_waits_or_starts_at_once(
    profile: Profile, queued: bool, front_queued: bool, at_once: bool
) -> None:
    """LP-CLIP-13."""
    assert starts_at_once(profile, queued=queued, front_queued=front_queued) is at_once


@pytest.mark.parametrize("queue", [None, True, False])
def test_a_clip_starts_over_one_that_was_not_queued_at_both_ends(queue: bool | None) -> None:
    """LP-CLIP-13: nothing waits behind it, whatever the next one asks for."""
    task = ListenTask(ListenVerb(url="ws://app.example/"), {}, profile=DEPLOYED)
    app = AppSession(profile=DEPLOYED)
    task.connected()
    app.receive(*task.data_to_send())
    first = play(app, clip(10, "a", queue=False), 0.0)
    task.receive(*app.data_to_send())
    task.play(FLICKS)
    second = play(app, clip(2, "b", queue=queue), 1.0)
    assert app.ahead(1.0) == 11
    task.receive(*app.data_to_send())
    task.play(2 * FLICKS)
    assert ends(app.receive(*task.data_to_send(), 3.0)) == [(second, P)]
    assert (second.heard, app.ahead(3.0)) == (2, 9)
    task.play(9 * FLICKS)
    assert ends(app.receive(*task.data_to_send(), 12.0)) == [(first, P)]
    assert (first.heard, app.ahead(12.0)) == (10, 0)


@pytest.mark.parametrize(("profile", "named"), [(DOCUMENTED, ["LP-MARK-14"]), (DEPLOYED, [])])
def test_a_mark_that_the_event_of_a_later_one_passed_over_is_skipped_and_forgotten(
    profile: Profile, named: list[str]
) -> None:
    app = opened(STREAMING, profile)
    for number in range(1000):
        first, second = mark(app, f"a{number}"), mark(app, f"b{number}")
        events = app.receive(event(f"b{number}"))
        assert clauses(events) == named
        assert ends(events) == [(first, S), (second, P)]
    assert (app.under_way, app.next_timeout(), app.observer.pending_marks) == ([], math.inf, 0)
    late = app.receive(event("a999"))
    assert (clauses(late), ends(late)) == (["LP-MARK-14"], [(first, S)])
    assert clauses(app.receive(event("a900"))) == ["LP-MARK-14"]
    assert clauses(app.receive(event("a899"))) == ["LP-MARK-9"]


def test_a_clip_that_the_play_done_of_a_later_one_passed_over_is_skipped_and_forgotten() -> None:
    app = opened()
    for number in range(1000):
        first, second = play(app, clip(1, f"a{number}")), play(app, clip(1, f"b{number}"))
        assert ends(app.receive(done(f"b{number}"))) == [(first, S), (second, P)]
        assert (first.heard, second.heard) == (0, 1)
    assert (app.under_way, app.next_timeout(), app.observer.outstanding_clips) == ([], math.inf, 0)
    late = app.receive(done("a999"))
    assert (clauses(late), ends(late)) == (["LP-CLIP-25"], [(first, S)])
    assert clauses(app.receive(done("a900"))) == ["LP-CLIP-25"]
    assert clauses(app.receive(done("a899"))) == ["LP-CLIP-24"]


def test_of_a_clip_that_was_skipped_nothing_was_heard() -> None:
    app = opened()
    first, second = play(app, clip(1, "a"), 0.0), play(app, clip(1, "b"), 0.0)
    app.receive(done("b"), 5.0)
    assert [(sent.outcome, sent.heard) for sent in (first, second)] == [(S, 0), (P, 1)]


def test_what_a_kill_took_and_a_later_one_passed_over_was_flushed() -> None:
    app = opened(STREAMING)
    forgotten = mark(app, "a")
    app.send(ClearMarks())
    later = mark(app, "b")
    assert forgotten.outcome is None  # its event may be on its way
    assert ends(app.receive(event("b"))) == [(forgotten, F), (later, P)]
    app = opened()
    killed = play(app, clip(0.5, "a"))
    app.send(KillAudio())
    behind = play(app, clip(0.5, "b"))
    assert killed.outcome is None
    assert ends(app.receive(done("b"))) == [(killed, F), (behind, P)]


@pytest.mark.parametrize("mode", [CLIPS, STREAMING])
def test_what_is_not_answered_in_time_is_given_up_until_it_is_answered(mode: Mode) -> None:
    """LP-MARK-17: ten seconds after it can have played."""
    app = opened(mode)
    if mode is CLIPS:
        sent, answer = play(app, clip(2, "m"), 100.0), done("m")
    else:
        app.send(Audio(audio(2)), 100.0)
        sent, answer = mark(app, "m", 100.0), event("m")
    assert (sent.due, app.next_timeout()) == (102, 112)
    assert app.handle_timeout(111.9) == []
    assert app.under_way == [sent]
    assert app.handle_timeout(112.0) == [PlaybackDone(sent, TIMED_OUT)]
    assert (app.under_way, app.next_timeout(), sent.heard) == ([], math.inf, 2)
    assert ends(app.receive(answer, 200.0)) == [(sent, P)]
    assert sent.outcome is P


def test_an_answer_that_is_there_in_time_is_taken_however_late_the_clock_is_looked_at() -> None:
    app = opened(STREAMING)
    sent = mark(app, "m", 0.0)
    app.send(ClearMarks(), 0.0)
    assert app.next_timeout() == 1
    assert ends(app.receive(event("m"), 5.0)) == [(sent, P)]


def test_an_answer_to_what_was_flushed_changes_nothing_and_is_told_of() -> None:
    app = opened(STREAMING)
    sent = mark(app, "m", 0.0)
    app.send(ClearMarks(), 0.0)
    assert app.handle_timeout(1.0) == [PlaybackDone(sent, F)]
    (told,) = app.receive(event("m"), 1.1)
    assert told == PlaybackDone(sent, F, MarkEvent("m", "playout"))
    assert told.name == "m"


def test_what_ends_by_what_is_sent_is_told_of_next() -> None:
    for tell in (
        lambda app: app.receive('{"event":"dtmf","dtmf":"1"}', 1.0)[:2],
        lambda app: app.handle_timeout(1.0),
    ):
        app = opened()
        clips = [play(app, clip(length)) for length in (10, 1)]
        app.send(KillAudio(), 1.0)
        assert [sent.outcome for sent in clips] == [F, F]
        assert [sent.heard for sent in clips] == [1, 0]
        assert (app.under_way, app.next_timeout()) == ([], 1)
        assert tell(app) == [PlaybackDone(sent, F) for sent in clips]
        assert app.next_timeout() == math.inf


ENDINGS: list[Callable[[AppSession], list]] = [
    lambda app: app.closed(1000),
    lambda app: app.closed(1006),
    lambda app: app.connection_lost(),
    lambda app: app.close() or app.handle_timeout(2.0),
    lambda app: app.close() or app.receive(event("far"), 2.0),
]


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_under_way_as_the_call_ends_is_lost(
    ending: Callable[[AppSession], list],
) -> None:
    app = opened(STREAMING)
    app.send(Audio(audio(0.5)), 0.0)
    near = mark(app, "near", 0.0)
    app.send(ClearMarks(), 0.0)
    app.send(Audio(audio(10)), 0.0)
    far = mark(app, "far", 0.0)
    app.receive(audio(0.02), 2.0)
    events = ending(app)
    assert ends(events) == [(near, F), (far, LOST)]
    assert far.heard == 1.5
    assert events[2:] in ([], [Close(1000)])
    assert (app.ahead(2.0), app.all_heard_by(2.0)) == (0, 2)
    assert ends(ending(app)) == ends(app.handle_timeout(9.0)) == []


def test_of_what_a_disconnect_cuts_short_so_much_was_heard() -> None:
    app = opened()
    clips = [play(app, clip(10), 0.0), play(app, clip(10), 0.0)]
    app.send(Disconnect(), 1.0)
    app.handle_timeout(5.0)
    app.connection_lost()
    assert [(one.outcome, one.heard) for one in clips] == [(LOST, 1), (LOST, 0)]
    app = opened(STREAMING)
    app.send(Audio(audio(10)), 0.0)
    killed = mark(app, "m", 0.0)
    app.send(KillAudio(), 1.0)
    app.send(Disconnect(), 2.0)
    app.connection_lost()
    assert (killed.outcome, killed.heard) == (LOST, 1)


def test_the_time_can_be_set_before_a_method_that_takes_none() -> None:
    app = opened()
    lost = play(app, clip(10), 0.0)
    app.pass_time(4.0)
    app.pass_time(3.0)
    assert ends(app.connection_lost()) == [(lost, LOST)]
    assert lost.heard == 4


def test_what_was_overdue_as_the_call_ended_has_timed_out() -> None:
    app = opened(STREAMING)
    sent = mark(app, "m", 0.0)
    app.receive(audio(10), 10.0)
    assert ends(app.connection_lost()) == [(sent, TIMED_OUT)]


def test_how_much_is_ahead_follows_from_the_rate_of_the_stream() -> None:
    way = BidirectionalAudio(streaming=True, sample_rate=16000)
    verb = ListenVerb(url="ws://app.example/", bidirectional_audio=way)
    for options, seconds in [({}, 4), ({"stream_rate": 24000}, 4 / 3), ({"verb": verb}, 2)]:
        app = AppSession(**({"mode": STREAMING} if "verb" not in options else {}), **options)
        app.receive("{}")
        assert app.ahead(0.0) == 0
        app.send(Audio(bytes(64_000)), 5.0)
        assert app.ahead(5.0) == pytest.approx(seconds)
        assert app.ahead(6.0) == pytest.approx(seconds - 1)
        assert app.ahead(10.0) == 0
        app.send(Audio(bytes(64_000)), 10.0)
        app.send(KillAudio(), 10.0)
        assert app.ahead(10.0) == 0


def test_a_mark_is_of_what_was_streamed_since_the_last_one() -> None:
    app = opened(STREAMING)
    app.send(Audio(audio(1)), 0.0)
    first = mark(app, "first", 0.0)
    app.send(Audio(audio(2)), 0.0)
    app.send(Audio(audio(1)), 0.0)
    second = mark(app, "second", 0.0)
    third = mark(app, "third", 0.0)
    app.receive(event("first"), 1.0)
    app.send(KillAudio(), 2.5)
    fourth = mark(app, "fourth", 2.5)
    app.receive(event("second", "cleared"), 3.0)
    app.receive(event("third", "cleared"), 3.0)
    marks = [first, second, third, fourth]
    assert [sent.seconds for sent in marks] == [1, 3, 0, 0]
    assert [sent.outcome for sent in marks] == [P, C, C, None]
    assert [sent.heard for sent in marks] == [1, 1.5, 0, 0]


def test_of_what_a_kill_in_front_of_it_took_nothing_was_heard() -> None:
    """LP-KILL-4, deployed: the killAudio waits for its frame."""
    app = opened(STREAMING, DEPLOYED)
    app.send(KillAudio(), 0.0)
    app.send(Audio(audio(1)), 0.0)
    sent = mark(app, "m", 0.0)
    app.receive(event("m", "cleared"), 0.5)
    assert (sent.outcome, sent.heard) == (C, 0)


@pytest.mark.parametrize(
    ("figures", "heard"),
    [
        ({}, 2),
        ({"playbackMilliseconds": "1990"}, 1.99),
        ({"playbackMilliseconds": 1990.0}, 1.99),
        ({"playbackMilliseconds": "2001"}, 2),
        ({"playbackMilliseconds": "-1"}, 0),
        ({"playbackMilliseconds": "1e999"}, 2),
        ({"playbackMilliseconds": "nan"}, 2),
        ({"playbackMilliseconds": "all"}, 2),
        ({"playbackMilliseconds": None}, 2),
        ({"playbackLastOffsetPos": "14000", "playbackMilliseconds": "2000"}, 1.75),
        ({"playbackLastOffsetPos": None, "playbackMilliseconds": "1990"}, 1.99),
    ],
)
def test_a_clip_was_heard_for_as_long_as_the_platform_says(
    figures: dict[str, object], heard: float
) -> None:
    app = opened()
    sent = play(app, clip(2, "c"))
    app.receive(done("c", **figures))
    assert (sent.outcome, sent.heard) == (P, heard)


def test_a_figure_that_no_float_can_hold_is_none() -> None:
    app = opened()
    sent = play(app, clip(2, "c"))
    message = PlayDone("c", {"playbackMilliseconds": 10**400})
    app.observer.see(Peer.PLATFORM, message)
    assert (sent.outcome, sent.heard) == (P, 2)


@pytest.mark.parametrize("profile", [DOCUMENTED, DEPLOYED], ids=lambda profile: profile.name)
def test_an_id_that_is_given_again_is_that_of_the_new_clip(profile: Profile) -> None:
    app = opened(profile=profile)
    old = play(app, clip(5, "c"), 0.0)
    app.send(KillAudio(), 1.0)
    app.receive(audio(8), 8.0)  # by that time no playDone can come for it
    app.handle_timeout(8.0)
    new = play(app, clip(1, "c"), 8.0)
    assert ends(app.receive(done("c"), 9.0)) == [(new, P)]
    assert old.outcome is F


def test_a_mark_that_was_given_up_leaves_its_name_and_its_place_to_the_next() -> None:
    """It counts as lost: that the event of a later one comes breaks no order."""
    for names in ("mm", "mn"):
        app = opened(STREAMING)
        lost = mark(app, names[0], 0.0)
        assert app.handle_timeout(10.0) == [PlaybackDone(lost, TIMED_OUT)]
        later = mark(app, names[1], 20.0)
        events = app.receive(event(names[1]), 20.1)
        assert clauses(events) == []
        assert ends(events) == [(later, P)]
        assert lost.outcome is TIMED_OUT


def test_of_marks_of_one_name_the_one_that_can_have_been_reached_is_taken() -> None:
    app = opened(STREAMING)
    app.send(Audio(audio(1)), 0.0)
    first = mark(app, "m", 0.0)
    app.send(ClearMarks(), 0.5)
    app.send(Audio(audio(60)), 0.5)
    second = mark(app, "m", 0.5)
    assert ends(app.receive(event("m"), 1.0)) == [(first, P)]
    app.send(KillAudio(), 1.5)
    assert ends(app.receive(event("m", "cleared"), 1.6)) == [(second, C)]


def test_what_ends_within_a_second_of_a_kill_may_have_ended_before() -> None:
    """LP-CLIP-30, to the moment."""
    app = opened()
    just, later = play(app, clip(2, "a"), 0.0), play(app, clip(0.25, "b"), 0.0)
    app.send(KillAudio(), 1.0)
    assert (just.outcome, later.outcome, app.next_timeout()) == (None, F, 1)
    assert app.handle_timeout(1.5) == [PlaybackDone(later, F)]
    assert app.handle_timeout(2.0) == [PlaybackDone(just, F)]
    app = opened(STREAMING)
    app.send(Audio(audio(2)), 0.0)
    first = mark(app, "m", 0.0)
    app.send(Audio(audio(0.25)), 0.0)
    second = mark(app, "n", 0.0)
    app.send(ClearMarks(), 1.0)
    assert (first.outcome, second.outcome) == (None, F)


def test_a_platform_remembers_so_many_killed_clips() -> None:
    observer = Observer(CLIPS, vantage=Peer.PLATFORM)
    observer.see(Peer.PLATFORM, Metadata({}))
    for number in range(101):
        observer.see(Peer.APP, clip(1, str(number)))
        observer.see(Peer.APP, KillAudio())
    for name, clause in [("0", "LP-CLIP-24"), ("1", "LP-KILL-8"), ("100", "LP-KILL-8")]:
        assert [v.clause for v in observer.see(Peer.PLATFORM, PlayDone(name))] == [clause]


@pytest.mark.parametrize(("second_at", "now", "taken"), [(0.0, 9.9, 0), (10.0, 10.0, 1)])
def test_of_marks_that_may_get_lost_the_first_is_taken_until_it_is_overdue(
    second_at: float, now: float, taken: int
) -> None:
    app = opened(STREAMING, DEPLOYED)
    marks = [mark(app, "m", 0.0), mark(app, "m", second_at)]
    told = [end for end in app.receive(event("m"), now) if isinstance(end, PlaybackDone)]
    assert [end.sent for end in told if end.message] == [marks[taken]]


def test_a_forgotten_mark_is_passed_over_for_one_that_can_have_come_to_the_event() -> None:
    app = opened(STREAMING)
    forgotten = mark(app, "m", 0.0)
    app.send(ClearMarks(), 0.0)
    later = mark(app, "m", 0.1)
    assert ends(app.receive(event("m"), 0.2)) == [(forgotten, F), (later, P)]
    app = opened(STREAMING, DEPLOYED)
    forgotten = mark(app, "m", 0.0)
    app.send(KillAudio(), 0.0)
    app.send(ClearMarks(), 0.1)
    later = mark(app, "m", 0.2)  # behind the killAudio, so rather the other was cleared
    assert ends(app.receive(event("m", "cleared"), 0.3)) == [(forgotten, C)]
    app.send(KillAudio(), 0.4)
    assert ends(app.receive(event("m", "cleared"), 0.5)) == [(later, C)]


def test_the_message_is_kept_until_its_end() -> None:
    app = opened(STREAMING)
    sent = mark(app, "m")
    assert sent.message == Mark("m")
    app.receive(event("m"))
    assert sent.message is None
    app = opened()
    sent = play(app, clip(1, "c", queue=True))
    assert sent.message == clip(1, "c", queue=True)
    app.close()
    assert sent.message is None


def test_a_kill_leaves_a_mark_no_more_than_ten_seconds_to_come_back() -> None:
    app = opened(STREAMING)
    app.send(Audio(audio(60)), 0.0)
    sent = mark(app, "m", 0.0)
    app.send(KillAudio(), 5.0)
    assert app.next_timeout() == 15
    app.send(ClearMarks(), 5.0)
    assert app.next_timeout() == 6
    app.send(KillAudio(), 5.5)
    app.send(ClearMarks(), 5.5)
    assert app.next_timeout() == 6
    assert app.handle_timeout(6.0) == [PlaybackDone(sent, F)]
    assert sent.heard == 5


def test_a_clip_that_is_killed_deployed_leaves_its_time_to_those_behind_it() -> None:
    app = opened(profile=DEPLOYED)
    first, second = play(app, clip(10, "a"), 0.0), play(app, clip(2, "b"), 0.0)
    app.send(KillAudio(), 4.0)
    assert (app.ahead(4.0), second.due, app.under_way) == (2, 6, [first, second])
    app.receive(done("a", playbackMilliseconds="4020"), 4.1)
    app.receive(done("b", playbackMilliseconds="2000"), 6.1)
    assert (first.outcome, first.heard) == (F, 4.02)
    assert (second.outcome, second.heard) == (P, 2)


def test_a_kill_that_comes_too_late_for_a_clip_stops_the_next_that_was_there() -> None:
    app = opened(profile=DEPLOYED)
    first, second, third = (play(app, clip(length, str(length)), 0.0) for length in (1, 2, 3))
    app.send(KillAudio(), 0.9)
    behind = play(app, clip(4, "4"), 0.9)
    app.receive(done("1", playbackMilliseconds="1000"), 1.1)
    assert (first.outcome, app.under_way) == (P, [second, third, behind])
    assert app.ahead(1.1) == pytest.approx(3 + 4)
    app.receive(done("2"), 1.2)  # no figures, but it is too early for a clip of two seconds
    assert (second.outcome, second.heard) == (F, pytest.approx(0))
    app.receive(done("3"), 4.2)
    app.receive(done("4"), 8.2)
    assert [sent.outcome for sent in (third, behind)] == [P, P]


@pytest.mark.parametrize(("now", "outcome"), [(1.9, F), (2.0, P)])
def test_without_figures_the_time_tells_whether_a_stopped_clip_had_ended(
    now: float, outcome: Outcome
) -> None:
    app = opened(profile=DEPLOYED)
    stopped, behind = play(app, clip(2, "a"), 0.0), play(app, clip(2, "b"), 0.0)
    app.send(KillAudio(), 1.0)
    app.receive(done("a"), now)
    app.receive(done("b"), now)  # too early for it: but it was the other that was stopped
    assert (stopped.outcome, behind.outcome) == (outcome, P if outcome is F else F)


def test_a_guess_leaves_those_in_front_to_be_guessed_as_well() -> None:
    """LP-CLIP-27: at last those that a killAudio must have stopped."""
    app = opened()
    for length, name in ((10, "long"), (0.5, "short")):
        play(app, clip(length, name))
        app.send(KillAudio())
    guesses = [app.receive(done()) for _ in range(3)]
    assert [clauses(events) for events in guesses] == [[], [], ["LP-CLIP-24"]]
    told = [event for events in guesses for event in events if isinstance(event, PlaybackDone)]
    assert [(event.name, event.guessed) for event in told if event.message] == [
        ("short", True),
        ("long", True),
    ]


def test_a_guess_does_not_tell_since_when_the_next_clip_plays() -> None:
    """LP-CLIP-30, by the platform's audio."""
    app = opened()
    play(app, clip(1, "killed"))
    app.receive(audio(0.5))
    app.send(KillAudio())
    play(app, clip(10, "a"))
    play(app, clip(10, "b"))
    app.receive(audio(0.5))
    app.receive(done())  # of which one, is open from now on
    app.receive(done())
    app.receive(audio(9.5))
    app.send(KillAudio())
    assert not app.observer.holds_clip("b")


def test_a_silent_clip_and_a_kill_stop_all_clips_at_both_ends() -> None:
    """Deployed, the clip drops those that wait, and the killAudio is faster than it."""
    network = Network(verb_of(CLIPS), DEPLOYED, Clock("runs"), 0.2, 0.2)
    sent = [network.send(clip(seconds, name)) for seconds, name in ((5, "a"), (3, "b"))]
    network.wait(1.01)
    sent.append(network.send(clip(0.02, "silence", queue=False)))
    network.send(KillAudio())
    network.finish()
    assert [one and one.outcome for one in sent] == [F, F, P]
    assert [one and round(one.heard, 1) for one in sent] == [1, 0, 0]
    assert network.app.ahead(network.clock.now()) == 0


def test_which_clip_was_suspended_is_known_by_what_was_done_before() -> None:
    app = opened(profile=DEPLOYED)
    a, b = play(app, clip(1, "a"), 0.0), play(app, clip(1, "b"), 0.0)
    c = play(app, clip(1, "c", queue=False), 0.9)
    assert ends(app.receive(done("a"), 1.0)) == [(a, P)]  # c came a moment too late for it
    assert ends(app.receive(done("c"), 2.0)) == [(c, P)]
    assert ends(app.receive(done("b"), 3.0)) == [(b, P)]
    app = opened(profile=DEPLOYED)
    a, b = play(app, clip(1, "a"), 0.0), play(app, clip(1, "b"), 0.0)
    c = play(app, clip(1, "c", queue=False), 1.0)
    assert ends(app.receive(done("c"), 2.0)) == [(b, F), (c, P)]  # c came just in time for a
    assert ends(app.receive(done("a"), 2.1)) == [(a, P)]


def test_a_kill_that_stopped_a_clip_spared_the_one_that_was_to_start_over_it() -> None:
    app = opened(profile=DEPLOYED)
    a = play(app, clip(5, "a"), 0.0)
    c = play(app, clip(3, "c", queue=False), 1.0)
    app.send(KillAudio(), 1.1)
    assert ends(app.receive(done("a", playbackMilliseconds=1100), 1.2)) == [(a, F)]
    assert app.ahead(1.2) == pytest.approx(2.8)
    assert ends(app.receive(done("c", playbackMilliseconds=3000), 4.1)) == [(c, P)]


def test_a_clip_that_starts_over_others_changes_nothing_of_what_has_ended() -> None:
    app = opened(profile=DEPLOYED)
    killed, played = play(app, clip(0.5, "a"), 0.0), play(app, clip(5, "b"), 0.0)
    app.send(KillAudio(), 0.1)
    assert app.handle_timeout(1.5) == [PlaybackDone(killed, F)]
    over = play(app, clip(1, "c", queue=False), 2.0)
    assert (app.under_way, app.next_timeout()) == ([played, over], 13)
    assert app.ahead(2.0) == pytest.approx(4.1)
    assert ends(app.receive(done("c"), 3.0)) == [(over, P)]
    assert ends(app.receive(done("b"), 6.1)) == [(played, P)]
    assert played.heard == 5


def test_when_all_is_heard() -> None:
    app = opened(STREAMING)
    assert app.all_heard_by(5.0) == 5
    app.send(Audio(audio(2)), 5.0)
    assert app.all_heard_by(5.0) == 7.5  # half a second more than computed
    last = mark(app, "last", 5.0)
    assert app.all_heard_by(5.0) == last.expires_at == 17
    app.receive(event("last"), 7.1)
    assert app.all_heard_by(7.1) == 7.1
    mark(app, "before", 8.0)
    app.send(Audio(audio(2)), 8.0)
    app.receive(event("before"), 8.0)
    assert app.all_heard_by(8.0) == 10.5
    mark(app, "more", 8.0)
    app.send(ClearMarks(), 8.0)
    assert app.all_heard_by(8.0) == 10.5
    app.send(KillAudio(), 8.0)
    assert app.all_heard_by(8.0) == 8
    mark(app, "on its way", 9.0)
    assert app.all_heard_by(9.0) == 19
    app.send(Audio(audio(2)), 9.0)
    app.send(Disconnect(), 9.0)
    assert (app.ahead(9.0), app.all_heard_by(9.0)) == (0, 9)
    assert len(app.under_way) == 1


def wrong_pace(events: list) -> str | None:
    """What the one end among some events says of the pace."""
    (end,) = [event for event in events if isinstance(event, PlaybackDone)]
    assert isinstance(end, PlaybackDone)
    return end.wrong_pace


@given(st.floats(0, 1e6), st.floats(0, 1))
def test_a_mark_behind_all_tells_whenever_that_was_sent(start: float, later: float) -> None:
    app = opened(STREAMING)
    app.send(Audio(audio(1.5)), start)
    mark(app, "m", start + later)
    app.receive(event("m"), start + 1.6)
    assert app.all_heard_by(start + 1.6) == start + 1.6


def test_an_answer_that_comes_too_early_or_too_late_says_so_once() -> None:
    app = opened(STREAMING)
    app.send(Audio(audio(3)), 10.0)
    mark(app, "a", 10.0)
    app.receive(audio(0.5), 10.5)
    said = wrong_pace(app.receive(event("a"), 10.5))
    assert said is not None
    assert said.startswith("mark 'a' was due after 3.00 s and came after 0.50 s: ")
    assert said.endswith("sampleRate really 8000, this app's stream_rate?")
    app.send(Audio(audio(3)), 10.5)
    mark(app, "b", 10.5)
    assert wrong_pace(app.receive(event("b"), 10.6)) is None
    app = opened()
    play(app, clip(2, "c"), 10.0)
    app.receive(audio(20), 30.0)
    said = wrong_pace(app.receive(done("c"), 30.0))
    assert said is not None
    assert said.startswith("the playDone of clip 'c' was due after 2.00 s and came after 20.00 s: ")


@pytest.mark.parametrize(
    "now",
    [0.0, 3.0],  # a clock that stands still says nothing, nor does an answer in time
)
def test_what_says_nothing_of_the_pace(now: float) -> None:
    app = opened(STREAMING)
    app.send(Audio(audio(3)), 0.0)
    mark(app, "m", 0.0)
    app.receive(audio(now), now)
    assert wrong_pace(app.receive(event("m"), now)) is None
    app = opened()
    play(app, clip(3, "c"), 0.0)
    app.receive(audio(now), now)
    assert wrong_pace(app.receive(done("c"), now)) is None


def test_an_answer_that_was_held_back_is_not_late() -> None:
    app = opened()
    play(app, clip(2, "c"), 10.0)
    app.receive(audio(20), 30.0)
    app.held_back(30.0)
    assert wrong_pace(app.receive(done("c"), 30.0)) is None


def test_a_clock_that_shows_no_time_at_all_says_nothing() -> None:
    app = AppSession(mode=STREAMING)
    app.receive("{}", -math.inf)
    app.send(Audio(audio(3)), -math.inf)
    sent = app.send(Mark("m"), -math.inf)
    assert app.receive(event("m"), -math.inf) == [
        PlaybackDone(Sent("m"), P, MarkEvent("m", "playout"))
    ]
    assert sent is not None and sent.heard == sent.seconds == 3
    assert Sent("m").seconds == 0


def test_what_may_be_another_or_was_stopped_says_nothing_of_the_pace() -> None:
    app = opened(STREAMING)
    app.send(Audio(audio(9)), 10.0)
    mark(app, "m", 10.0)
    mark(app, "m", 10.0)
    assert wrong_pace(app.receive(event("m"), 10.1)) is None
    app.send(KillAudio(), 10.1)
    app.send(Audio(audio(9)), 10.2)
    mark(app, "n", 10.2)
    assert wrong_pace(app.receive(event("m", "cleared"), 10.3)) is None
    assert wrong_pace(app.receive(event("n"), 10.4)) is None
    app = opened()
    play(app, clip(9, "a"), 10.0)
    app.receive(audio(8.5), 18.5)
    app.send(KillAudio(), 18.5)
    play(app, clip(9, "b"), 18.6)
    assert wrong_pace(app.receive(done(), 18.6)) is None  # a guess
    assert wrong_pace(app.receive(done("b"), 18.7)) is None
    app = opened(profile=DEPLOYED)
    play(app, clip(9, "a"), 10.0)
    play(app, clip(9, "b", queue=False), 11.0)
    assert wrong_pace(app.receive(done("a"), 11.1)) is None
    assert wrong_pace(app.receive(done("b"), 11.2)) is None
    app.receive(audio(30), 40.0)
    play(app, clip(9, "c", queue=False), 40.0)  # in nobody's place
    assert wrong_pace(app.receive(done("c"), 40.1)) is not None


def test_what_became_of_it_is_for_the_record_to_say() -> None:
    for told in ({"outcome": LOST}, {"expires_as": LOST}):
        with pytest.raises(TypeError):
            Sent("m", **told)
    refused = Sent.refused("c")
    assert (refused.name, refused.outcome, refused.seconds) == ("c", Outcome.REFUSED, 0)
    assert PlaybackDone(Sent("m"), "lost").outcome is LOST  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^outcome must be "):
        PlaybackDone(Sent("m"), "gone")  # type: ignore[arg-type]


def test_what_was_sent_shows_what_matters_of_it() -> None:
    app = opened(STREAMING)
    app.send(Audio(audio(1)), 0.0)
    sent = mark(app, "m", 0.0)
    assert repr(sent) == "MarkSent(name='m', flicks=705600000, outcome=None, heard=0.0)"
    shown = repr(play(opened(), clip(0.5, "c")))
    assert shown == "ClipSent(name='c', flicks=352800000, outcome=None, heard=0.0)"
    words = ["played", "cleared", "flushed", "skipped", "early", "refused", "lost", "timed out"]
    assert [outcome.value for outcome in Outcome] == words


@pytest.mark.parametrize("stop", [KillAudio(), ClearMarks(), Disconnect()])
def test_what_is_taken_is_not_waited_for_though_it_is_under_way(stop: Message) -> None:
    app = opened(STREAMING)
    sent = mark(app, "m", 5.0)
    app.send(stop, 5.0)
    assert (app.under_way, app.all_heard_by(5.0)) == ([sent], 5)


def test_a_killed_clip_that_may_be_done_is_not_waited_for() -> None:
    app = opened()
    sent = play(app, clip(1), 5.0)
    app.send(KillAudio(), 5.5)
    assert (app.under_way, app.all_heard_by(5.5)) == ([sent], 5.5)
    app = opened(profile=DEPLOYED)
    sent = play(app, clip(1), 5.0)
    app.send(KillAudio(), 5.5)  # it may play on
    assert (app.under_way, app.all_heard_by(5.5)) == ([sent], 7)


@pytest.mark.parametrize("times", [[5.0, 1.0, -math.inf, math.nan], [5.0, 3605.0, 5.0], [0.0] * 3])
def test_whatever_the_clock_shows_the_answers_are_taken(times: list[float]) -> None:
    app = opened(STREAMING)
    for number, now in enumerate(times):
        app.send(Audio(audio(1)), now)
        sent = mark(app, str(number), now)
        app.handle_timeout(times[0])
        app.handle_timeout(now)
        assert sent in app.under_way
        assert ends(app.receive(event(str(number)), now)) == [(sent, P)]
        assert app.ahead(now) >= 0


def test_a_mark_that_comes_before_its_audio_can_be_heard_is_early() -> None:
    """As on deployed platforms, which take a sample of -1 for the mark."""
    app = opened(STREAMING)
    app.send(Audio(audio(1)), 5.0)
    sent = mark(app, "m", 5.0)
    app.receive(audio(0.1), 5.1)
    assert ends(app.receive(event("m"), 5.1)) == [(sent, Outcome.EARLY)]
    assert sent.heard == pytest.approx(0.1)
    assert app.ahead(5.1) == pytest.approx(0.9)
    app.send(Audio(audio(1)), 5.1)
    sent = mark(app, "m", 5.1)
    app.receive(audio(1.9), 7.0)
    assert ends(app.receive(event("m"), 7.0)) == [(sent, P)]


def test_where_nobody_asks_the_newest_ends_are_kept() -> None:
    app = opened()
    for number in range(1100):
        play(app, clip(1.5, str(number)))
        app.send(KillAudio())
    told = app.handle_timeout(0.0)
    assert [event.name for event in told] == [str(number) for number in range(100, 1100)]
    assert {event.outcome for event in told} == {F}


def test_the_oldest_of_too_many_clips_and_marks_are_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of an app that knows no limit, as an observer of it sees them."""
    monkeypatch.setattr("listenproto._marks.MAX_MARKS", 1000)
    kinds: list[tuple[Mode, Callable[[str], Message]]] = [
        (CLIPS, lambda name: clip(1, name)),
        (STREAMING, lambda name: Mark(name)),
    ]
    for mode, message in kinds:
        observer = Observer(mode, vantage=Peer.APP, without={"LP-META-13"})
        for number in range(1001):
            observer.see(Peer.APP, message(str(number)))
        (oldest,) = observer._record.ended
        assert (oldest.name, oldest.outcome) == ("0", TIMED_OUT)
        assert len(observer._record.under_way) == 1000


class Clock:
    """What an app's clock shows as so much time passes, in seconds."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.passed = 0.0

    def now(self) -> float:
        if self.kind == "stands still":
            return 7.0
        jumps = {"jumps ahead": 3600.0, "goes back": -3600.0}
        return self.passed + (jumps.get(self.kind, 0.0) if self.passed > 1 else 0.0)


class Network:
    """An app and a caller who listens, far from each other; all times are in seconds."""

    def __init__(
        self, verb: ListenVerb, profile: Profile, clock: Clock, there: float, back: float
    ) -> None:
        self.task = ListenTask(verb, {}, profile=profile)
        self.playout = RecordedPlayout(stream_rate=RATE, profile=profile)
        self.task.session.playout = self.playout
        self.app = AppSession(mode=verb.mode(), profile=profile)
        self.clock = clock
        self.there, self.back = there, back
        self.to_app: deque[tuple[float, str | bytes | Close]] = deque()
        self.to_platform: deque[tuple[float, str | bytes | Close]] = deque()
        self.events: list[object] = []
        self.task.connected()
        self.app.receive(next(iter(self.task.data_to_send())), clock.now())  # type: ignore[arg-type]

    def step(self) -> None:
        """20 ms pass, and what is to arrive by then does."""
        self.clock.passed += 0.02
        now = self.clock.passed
        while self.to_platform and self.to_platform[0][0] <= now:
            payload = self.to_platform.popleft()[1]
            assert not isinstance(payload, Close)
            self.task.receive(payload)
        self.task.play(FLICKS // 50)
        self.task.capture(bytes(320))
        self.to_app += [(now + self.back, payload) for payload in self.task.data_to_send()]
        while self.to_app and self.to_app[0][0] <= now:
            payload = self.to_app.popleft()[1]
            if isinstance(payload, Close):
                self.events += self.app.closed(payload.code)
            else:
                self.events += self.app.receive(payload, self.clock.now())
        self.keep_time()

    def keep_time(self) -> None:
        due = self.app.next_timeout()
        if self.clock.kind != "is never asked" and due <= self.clock.now():
            self.events += self.app.handle_timeout(self.clock.now())

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 50)):
            self.step()

    def send(self, message: Message) -> Sent | None:
        sent = self.app.send(message, self.clock.now())
        leaving = self.clock.passed + self.there
        self.to_platform += [(leaving, payload) for payload in self.app.data_to_send()]
        self.keep_time()
        return sent

    def carry_out(self, script: list[tuple[str, float]]) -> dict[object, Sent]:
        """Gives what was sent to be played, by its name."""
        entries: dict[object, Sent] = {}
        for number, (what, seconds) in enumerate(script):
            name = str(number)
            if what == "wait":
                self.wait(seconds)
            elif what == "kill":
                self.send(KillAudio())
                self.wait(0.1)  # else deployed platforms flush what comes close behind it
            elif what == "clear":
                self.send(ClearMarks())
            elif len(self.app.under_way) < 10:
                if what == "mark":
                    self.send(Audio(audio(seconds)))
                queue = False if what == "play now" else None
                message = Mark(name) if what == "mark" else clip(seconds, name, queue)
                sent = self.send(message)
                assert sent is not None
                entries[name] = sent
        return entries

    def finish(self) -> None:
        """All arrives and plays to its end, and some time passes."""
        while self.task.buffered or self.to_platform or self.answers_under_way():
            self.step()
        self.wait(2.5)

    def answers_under_way(self) -> bool:
        return any(isinstance(payload, str) for _, payload in self.to_app)


def known(over: PlayoutEnd, script: list[tuple[str, float]]) -> tuple[object, Outcome]:
    """What the app can know of it: a frame more or less is nothing."""
    if isinstance(over.item, PlayoutMark):
        return over.item.name, {
            PlayoutFate.PLAYED: P,
            PlayoutFate.KILLED: C,
            PlayoutFate.FORGOTTEN: F,
        }[over.fate]
    _, seconds = script[int(str(over.item.id))]
    at_its_end = over.fate is PlayoutFate.KILLED and over.samples >= (seconds - 0.02) * RATE
    return over.item.id, P if over.fate is PlayoutFate.PLAYED or at_its_end else F


delays = st.sampled_from([0.0, 0.04, 0.2, 0.46])
lengths = st.sampled_from([0.0, 0.02, 0.1, 0.5, 0.9, 1.5])
waits = st.tuples(st.just("wait"), lengths | st.floats(0, 2))
kills = st.just(("kill", 0.0))
clip_scripts = st.lists(st.tuples(st.just("play"), lengths) | waits | kills, max_size=12)
interrupting = st.tuples(st.sampled_from(["play", "play now"]), lengths)
interrupting_scripts = st.lists(interrupting | waits, max_size=12)
mark_scripts = st.lists(
    st.tuples(st.just("mark"), lengths) | waits | kills | st.just(("clear", 0.0)), max_size=12
)
CALLS = [
    (CLIPS, WITH_IDS, clip_scripts),
    (CLIPS, DEPLOYED, clip_scripts),
    (CLIPS, DEPLOYED, interrupting_scripts),
    (STREAMING, DOCUMENTED, mark_scripts),
]
LOSING_MARKS = (STREAMING, DEPLOYED, mark_scripts)
few = settings(max_examples=settings().max_examples // 4)


def verb_of(mode: Mode) -> ListenVerb:
    way = BidirectionalAudio(streaming=mode is STREAMING, sample_rate=RATE)
    return ListenVerb(url="ws://app.example/", bidirectional_audio=way)


@pytest.mark.parametrize(("mode", "profile", "scripts"), CALLS)
@few
@given(data=st.data(), there=delays, back=delays)
def test_both_ends_know_the_same(
    mode: Mode,
    profile: Profile,
    scripts: st.SearchStrategy[list[tuple[str, float]]],
    data: st.DataObject,
    there: float,
    back: float,
) -> None:
    script = data.draw(scripts)
    network = Network(verb_of(mode), profile, Clock("runs"), there, back)
    entries = network.carry_out(script)
    network.finish()
    fates = dict(known(over, script) for over in network.playout.overs)
    assert {name: sent.outcome for name, sent in entries.items()} == fates
    assert clauses(network.events) == []
    assert not [e for e in network.events if isinstance(e, PlaybackDone) and e.wrong_pace]
    assert network.app.under_way == [] and network.app.ahead(network.clock.now()) == 0
    heard = {str(o.item.id): o.samples / RATE for o in network.playout.overs if o.samples}
    if mode is CLIPS:
        for name, sent in entries.items():
            assert sent.heard == pytest.approx(heard.get(str(name), 0.0), abs=0.05)


KINDS = ["stands still", "jumps ahead", "goes back", "is never asked"]


@pytest.mark.parametrize(("mode", "profile", "scripts"), [*CALLS, LOSING_MARKS])
@few
@given(kind=st.sampled_from(KINDS), data=st.data(), there=delays, back=delays)
def test_whatever_its_clock_does_the_app_is_told_no_more_than_is_true(
    kind: str,
    mode: Mode,
    profile: Profile,
    scripts: st.SearchStrategy[list[tuple[str, float]]],
    data: st.DataObject,
    there: float,
    back: float,
) -> None:
    """And of each end, at the end of the call."""
    script = data.draw(scripts)
    network = Network(verb_of(mode), profile, Clock(kind), there, back)
    entries = network.carry_out(script)
    network.finish()
    fates = dict(known(over, script) for over in network.playout.overs)
    for name, sent in entries.items():
        assert sent.outcome not in (P, C) or fates.get(name) is sent.outcome
    network.task.hang_up()
    network.wait(1)
    network.events += network.app.handle_timeout(network.clock.now())
    assert clauses(network.events) == []
    # What deployed platforms hold back of a stream makes marks really come early or late.
    holds_back = mode is STREAMING and profile.plays_in_frames
    wrong_pace = [e for e in network.events if isinstance(e, PlaybackDone) and e.wrong_pace]
    assert holds_back or wrong_pace == []
    assert network.app.under_way == [] and network.app.next_timeout() == math.inf
    assert {sent for sent, _ in ends(network.events)} == {*entries.values()}


@pytest.mark.parametrize(("now", "outcome"), [(1.9, P), (2.0, Outcome.EARLY)])
def test_what_a_kill_may_have_stopped_can_be_answered_early(now: float, outcome: Outcome) -> None:
    """A second of audio was ahead, and the killAudio may take another to be read."""
    app = opened(STREAMING)
    app.send(Audio(audio(1)), 0.0)
    app.send(KillAudio(), 0.0)
    app.send(Audio(audio(1)), now)
    sent = mark(app, "m", now)
    app.receive(event("m"), now + 0.1)
    assert sent.outcome is outcome


def test_a_clock_that_stands_still_tells_nothing_of_the_pace() -> None:
    app = opened(STREAMING)
    app.send(Audio(audio(1)), 0.0)
    sent = mark(app, "m", 0.0)
    events = app.receive(event("m"), 0.0)
    assert (ends(events), wrong_pace(events)) == ([(sent, P)], None)


@pytest.mark.parametrize(("silence", "outcome"), [(0.0, Outcome.EARLY), (0.5, P)])
def test_silence_in_front_of_a_mark_may_be_kept_back(silence: float, outcome: Outcome) -> None:
    app = opened(STREAMING)
    app.send(Audio(audio(1)), 0.0)
    sent = mark(app, "m", 0.0)
    sent.silence = silence
    events = app.receive(event("m"), 0.6)
    assert ends(events) == [(sent, outcome)]
    assert (wrong_pace(events) is None) is (outcome is P)
