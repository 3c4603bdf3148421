"""What waits to be read: in its order, within bounds, and told of where it was dropped."""

from __future__ import annotations

from typing import Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listenproto import (
    Audio,
    CallEvent,
    Dropped,
    Dtmf,
    Limits,
    Malformed,
    MarkEvent,
    Message,
    Metadata,
    MixType,
    Outcome,
    Peer,
    PlayAudio,
    PlaybackDone,
    PlayDone,
    Sent,
    UnknownMessage,
    Violation,
)
from listenproto._messages import JSON
from listenproto._unread import OVERHEAD, Unread, UnreadPolicy

TINY: Final = Audio(b"\1\0")
KEY: Final = Dtmf("5")


def unread(policy: UnreadPolicy = "drop_oldest", **limits: float) -> Unread:
    return Unread(policy, Limits(**limits))  # type: ignore[arg-type]


def rest(queue: Unread) -> list[CallEvent]:
    """All that can still be read."""
    events = []
    while (event := queue.get()) is not None:
        events.append(event)
    return events


@attrs.define
class Naive:
    """What a queue that drops the oldest does, in the plainest words: stereo, few events."""

    max_audio: int
    max_others: int
    entries: list[CallEvent] = attrs.field(factory=list)

    def put(self, event: CallEvent) -> None:
        self.entries.append(event)
        while sum(len(audio.pcm) + OVERHEAD for audio in self.audio()) > self.max_audio:
            oldest = self.audio()[0]
            self.drop(oldest, Dropped(samples=len(oldest.pcm) // 4))
        while len(self.others()) > self.max_others:
            self.drop(self.others()[0], Dropped(events=1))

    def audio(self) -> list[Audio]:
        return [entry for entry in self.entries if isinstance(entry, Audio)]

    def others(self) -> list[CallEvent]:
        return [entry for entry in self.entries if not isinstance(entry, Audio | Dropped)]

    def drop(self, event: CallEvent, note: Dropped) -> None:
        self.entries[self.entries.index(event)] = note
        for place in range(len(self.entries) - 1, 0, -1):
            one, other = self.entries[place - 1 : place + 1]
            if isinstance(one, Dropped) and isinstance(other, Dropped):
                both = Dropped(one.samples + other.samples, one.events + other.events)
                self.entries[place - 1 : place + 1] = [both]


@given(st.lists(st.sampled_from(["audio", "key", "get"]), max_size=60))
def test_a_note_stands_in_the_place_of_what_was_dropped(steps: list[str]) -> None:
    metadata = Metadata(mix_type=MixType.STEREO)
    queue = unread(unread_seconds=0.01, unread_events=3)
    queue.open(metadata)
    naive = Naive(max_audio=int(0.01 * (8000 * 4 + 50 * OVERHEAD)), max_others=3)
    for number, step in enumerate(steps):
        if step == "audio":
            event: CallEvent = Audio(number.to_bytes(4) * (1 + number * 7 % 40))
        else:
            event = Dtmf("5", number)
        if step != "get":
            naive.put(event)
            queue.put(event)
        elif naive.entries:
            assert queue.get() == naive.entries.pop(0)
    assert rest(queue) == naive.entries


def test_notes_do_not_pile_up() -> None:
    """However audio and keys alternate, no more is to be read than may wait."""
    queue = unread(unread_seconds=0.1, unread_events=10)
    queue.open(Metadata())
    for _ in range(1000):
        queue.put(TINY)
        queue.put(KEY)
    events = rest(queue)
    told = [event for event in events if isinstance(event, Dropped)]
    assert events.count(KEY) == 10
    assert events.count(TINY) < 30
    assert len(told) <= 10 + 30
    assert queue.samples_dropped == sum(note.samples for note in told) == 1000 - events.count(TINY)
    assert queue.events_dropped == sum(note.events for note in told) == 990


def test_so_many_seconds_of_20_ms_each_may_wait() -> None:
    queue = unread("hold", unread_seconds=2)
    queue.open(Metadata())
    for _ in range(100):
        queue.put(Audio(bytes(320)))
    assert not queue.held
    queue.put(Audio(b""))
    assert queue.held


def test_each_value_counts_64_bytes_besides_its_content() -> None:
    queue = unread("hold", message_size=2 * (3 * 64 + 1))
    queue.put(KEY)
    queue.put(KEY)
    assert not queue.held
    queue.put(KEY)
    assert queue.held


def test_before_the_metadata_audio_has_the_bound_of_a_message() -> None:
    queue = unread(message_size=200)
    for _ in range(4):
        queue.put(TINY)
    assert rest(queue) == [Dropped(samples=1), TINY, TINY, TINY]
    assert type(queue.samples_dropped) is int


def test_once_it_is_abandoned_nothing_is_kept_or_held() -> None:
    queue = unread("hold", message_size=100, unread_events=1)
    for _ in range(3):
        queue.put(TINY)
        queue.put(KEY)
    assert queue.held
    queue.abandon()
    for _ in range(3):
        queue.put(TINY)
        queue.put(KEY)
    assert (queue.held, queue.waiting, queue.get()) == (False, False, None)


LARGE: Final = "x" * 4000


def violation(message: Message, reason: str = "because") -> Violation:
    return Violation("LP-ODD-1", Peer.PLATFORM, message, reason)


def nested(value: JSON, depth: int) -> JSON:
    return {"": nested([value], depth - 1)} if depth else value


@pytest.mark.parametrize(
    "event",
    [
        PlaybackDone(Sent(LARGE[:3500]), Outcome.LOST),
        PlaybackDone(Sent(LARGE[:1750]), Outcome.PLAYED, MarkEvent(LARGE[:1750], "playout")),
        PlaybackDone(Sent("clip"), Outcome.PLAYED, PlayDone("clip", {"figure": LARGE[:3500]})),
        UnknownMessage({"type": LARGE}),
        UnknownMessage({LARGE: None}),
        UnknownMessage({"many": [None] * 60}),
        UnknownMessage({"deep": nested(None, 20)}),
        violation(Malformed(LARGE, "because", "LP-ODD-2")),
        violation(Malformed("{", LARGE, "LP-ODD-2")),
        violation(Dtmf("5"), LARGE),
        violation(MarkEvent(LARGE, "playout")),
        violation(PlayDone(LARGE)),
        violation(PlayDone("clip", {"figure": LARGE})),
        violation(Metadata({"customerData": {"name": LARGE[:3800]}})),
        violation(PlayAudio(LARGE.encode())),
        violation(Audio(LARGE.encode())),
    ],
    ids=lambda event: f"{event!r:.60}",
)
def test_whatever_an_event_holds_is_bounded(event: CallEvent) -> None:
    """Two of 4000 characters, or of as many bytes in some 60 values, fit into 10 000.

    What tells of a clip or a mark, and metadata, have a dozen values besides.
    """
    queue = unread(message_size=10_000)
    for _ in range(10):
        queue.put(event)
    assert rest(queue) == [Dropped(events=8), event, event]


def test_what_holds_as_much_as_may_wait_can_be_read() -> None:
    queue = unread(message_size=4000)
    large = UnknownMessage({"type": LARGE})
    queue.put(KEY)
    queue.put(large)
    assert queue.get() == Dropped(events=1)
    assert queue.get() == large
    queue.put(large)
    queue.put(KEY)
    assert rest(queue) == [Dropped(events=1), KEY]


@pytest.mark.parametrize("seconds", [0, 1])
def test_audio_of_more_than_may_wait_can_be_read(seconds: int) -> None:
    queue = unread(unread_seconds=seconds)
    queue.open(Metadata())
    long = Audio(bytes(2 * 16000))
    queue.put(TINY)
    queue.put(long)
    assert queue.get() == Dropped(samples=1)
    assert queue.get() == long
    queue.put(long)
    queue.put(TINY)
    assert rest(queue) == [Dropped(samples=16000), TINY]


@pytest.mark.parametrize("seconds", [0, 1])
def test_reading_is_held_by_audio_of_more_than_may_wait_and_more(seconds: int) -> None:
    queue = unread("hold", unread_seconds=seconds)
    queue.open(Metadata())
    held = []
    for _ in range(2):
        queue.put(Audio(bytes(2 * 16000)))
        held.append(queue.held)
    assert held == [False, True]


def chunked(**limits: float) -> Unread:
    """A queue that gives audio in pieces of 0.1 s."""
    queue = Unread("drop_oldest", Limits(**limits), chunk=0.1)  # type: ignore[arg-type]
    queue.open(Metadata())
    return queue


def test_audio_is_joined_to_chunks_of_whole_messages() -> None:
    queue = chunked()
    pieces = [Audio(bytes([number]) * 600) for number in range(4)]
    for piece in pieces[:2]:
        queue.put(piece)
        assert (queue.waiting, queue.get()) == (False, None)
    for piece in pieces[2:]:
        queue.put(piece)
    assert queue.get() == Audio(b"".join(piece.pcm for piece in pieces[:3]))
    assert (queue.waiting, queue.get()) == (False, None)
    queue.end()
    assert (queue.waiting, queue.get(), queue.get()) == (True, pieces[3], None)


def test_a_chunk_ends_at_another_event() -> None:
    queue = chunked()
    for event in (TINY, TINY, KEY, TINY):
        queue.put(event)
    assert rest(queue) == [Audio(TINY.pcm * 2), KEY]
    queue.put(Audio(bytes(1600)))
    assert rest(queue) == [Audio(TINY.pcm + bytes(1600))]


def test_a_chunk_is_read_before_the_queue_overflows() -> None:
    queue = chunked(unread_seconds=0.1)
    read = []
    for _ in range(100):
        queue.put(TINY)
        read += rest(queue)
    queue.end()
    assert b"".join(event.pcm for event in read + rest(queue)) == TINY.pcm * 100
