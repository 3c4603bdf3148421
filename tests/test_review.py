"""What is noted of a recorded call although nobody broke the protocol."""

from __future__ import annotations

from collections.abc import Iterator

from listenproto import Close, Mode, Payload, Peer, Trace, TraceHeader, TraceLine, review_trace

SECOND = 1_000_000
RATE = 8000


def trace_of(*said: tuple[float, Peer, Payload], seconds: int, mode: Mode) -> Trace:
    """A deployed call of so many seconds, and what else was said at which second."""

    def lines() -> Iterator[tuple[float, Peer, Payload]]:
        yield 0.0, Peer.PLATFORM, "{}"
        for number in range(50 * seconds):
            yield (number + 1) / 50, Peer.PLATFORM, bytes(2 * RATE // 50)
        yield from said
        yield float(seconds), Peer.PLATFORM, Close()
        yield float(seconds), Peer.APP, Close()

    in_order = sorted(lines(), key=lambda line: line[0])
    header = TraceHeader(vantage=Peer.APP, way=mode, profile="deployed")
    return Trace(
        header,
        tuple(TraceLine(round(at * SECOND), sender, 0, what) for at, sender, what in in_order),
    )


def notes(trace: Trace) -> list[str]:
    return [str(note) for _, note in review_trace(trace)]


def audio(seconds: float) -> tuple[float, Peer, Payload]:
    return 0.0, Peer.APP, b"\1\0" * round(seconds * RATE)


def mark(name: str) -> tuple[float, Peer, Payload]:
    return 0.0, Peer.APP, f'{{"type":"mark","data":{{"name":"{name}"}}}}'


def event(at: float, name: str) -> tuple[float, Peer, Payload]:
    text = f'{{"type":"mark","data":{{"name":"{name}","event":"playout"}}}}'
    return at, Peer.PLATFORM, text


def test_nothing_is_noted_of_a_good_call_or_of_one_that_ended_first() -> None:
    said = audio(1), mark("a"), audio(1), mark("b")
    good = trace_of(*said, event(1, "a"), event(2, "b"), seconds=4, mode=Mode.STREAMING)
    assert notes(good) == []
    assert notes(trace_of(*said, event(1, "a"), seconds=2, mode=Mode.STREAMING)) == []


def test_a_mark_that_was_passed_over_is_noted() -> None:
    said = audio(1), mark("a"), audio(1), mark("b"), event(2, "b")
    assert notes(trace_of(*said, seconds=4, mode=Mode.STREAMING)) == [
        "the mark 'a' was not answered, but a later one was"
    ]


def test_a_mark_that_comes_late_is_noted() -> None:
    said = audio(1), mark("a"), event(4, "a")
    (note,) = notes(trace_of(*said, seconds=5, mode=Mode.STREAMING))
    assert note.startswith("mark 'a' was due after 1.00 s and came after 4.00 s")


def test_what_was_killed_is_not_waited_for() -> None:
    said = audio(1), mark("a"), (0.5, Peer.APP, '{"type":"killAudio"}')
    assert notes(trace_of(*said, seconds=5, mode=Mode.STREAMING)) == []


def test_a_clip_that_is_never_done_is_noted_once() -> None:
    data = '{"audioContent":"AQA=","audioContentType":"raw","sampleRate":8000,"id":"c"}'
    said = 1.0, Peer.APP, f'{{"type":"playAudio","data":{data}}}'
    assert notes(trace_of(said, seconds=4, mode=Mode.CLIPS)) == [
        "the clip 'c' was not answered, 3.0 s after it was due"
    ]
