"""Bytes of hostile peers, at both ends and in every state of a connection.

Whatever comes: events, or a RemoteProtocolError that stays the same for ever, that a legal close
still answers, and that no chunking of the bytes changes. Nothing else is ever raised, and with the
transport's end the connection is finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listenproto import Closed, Disconnect, ListenEnd, Mode, PlatformConnection, Violation
from listenproto.testing import nearly_legal_texts
from tests.depth import DEEP
from tests.hostile_support import (
    CALLS,
    HEADS,
    KILLED,
    MASKS,
    Driven,
    Outcome,
    a_platform,
    an_app,
    outcome,
)
from tests.wire_support import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    TEXT,
    bytewise,
    close_payload,
    cut,
    frame,
    frames,
)
from tests.wire_support import request as asking

# The branches that it takes are counted elsewhere, and counting takes time.
pytestmark = pytest.mark.no_cover

MAX_HEAD: Final = 400
MAX_MESSAGE: Final = 2000
ROLES: Final = ("app", "platform")
PLACES = st.lists(st.integers(0, 2**16), max_size=12)


def an_end(role: str, mode: Mode = Mode.STREAMING, *, stalls: bool = False) -> Driven:
    if role == "app":
        app = an_app(mode, max_head=MAX_HEAD, max_message=MAX_MESSAGE)
        return Driven(app, KILLED[mode], stalls=stalls)
    return Driven(a_platform(mode, max_head=MAX_HEAD, max_message=MAX_MESSAGE))


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("role", ROLES)
class TestACallOnRecord:
    """What two ends of our own have said to each other, told to a third."""

    def whole(self, role: str, mode: Mode) -> Outcome:
        driven = an_end(role, mode)
        return outcome(driven, [CALLS[mode][role]])

    def test_it_is_a_call_with_nothing_wrong(self, role: str, mode: Mode) -> None:
        seen = self.whole(role, mode)
        assert seen[-1] == Closed(1000, "", clean=True)
        assert not [event for event in seen if isinstance(event, Violation | tuple)]

    @given(places=PLACES, writes=st.booleans())
    def test_any_chunking_gives_the_same_events(
        self, role: str, mode: Mode, places: list[int], writes: bool
    ) -> None:
        whole = self.whole(role, mode)
        for chunking in (lambda data: cut(data, places), bytewise):
            driven = an_end(role, mode)
            chunks = chunking(CALLS[mode][role])
            assert outcome(driven, chunks, writes=writes) == whole

    def test_cut_off_anywhere_it_ends_uncleanly_and_nothing_else(
        self, role: str, mode: Mode
    ) -> None:
        whole = self.whole(role, mode)
        for end in range(0, len(CALLS[mode][role]), 1 if DEEP else 5):
            driven = an_end(role, mode)
            data = CALLS[mode][role][:end]
            *seen, last = outcome(driven, [*filter(None, [data]), b""])
            assert last == Closed(1006, "", clean=False)
            assert seen == whole[: len(seen)]
            assert driven.end.finished
            if isinstance(driven.end, PlatformConnection):
                result = driven.end.task.result
                assert result is not None
                ends = {ListenEnd.LOST, ListenEnd.DISCONNECT} if seen else {ListenEnd.NOT_CONNECTED}
                assert result.end in ends


# Damage: what happens to bytes on their way, or what a fuzzer does to them.

Damage: TypeAlias = Callable[[bytes], bytes]


def _flip(bit: int) -> Damage:
    def damage(data: bytes) -> bytes:
        at, mask = bit // 8 % len(data), 1 << bit % 8
        return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]

    return damage


def _splice(at: int, size: int, then: Callable[[bytes], bytes]) -> Damage:
    """Put something else in the place of some bytes."""

    def damage(data: bytes) -> bytes:
        start = at % (len(data) + 1)
        end = start + size
        return data[:start] + then(data[start:end]) + data[end:]

    return damage


def _swap(at: int, size: int) -> Damage:
    """Let some bytes change places with as many behind them."""
    return _splice(at, 2 * size, lambda piece: piece[size:] + piece[:size])


PLACE = st.integers(0, 2**12)
SIZE = st.integers(1, 60)
DAMAGE = st.one_of(
    st.builds(_flip, st.integers(0, 2**15)),
    st.builds(_splice, PLACE, SIZE, st.just(lambda piece: b"")),
    st.builds(_splice, PLACE, SIZE, st.just(lambda piece: piece * 2)),
    st.builds(_splice, PLACE, SIZE, st.binary(max_size=20).map(lambda junk: lambda piece: junk)),
    st.builds(_swap, PLACE, SIZE),
)


@pytest.mark.parametrize("mode", [Mode.STREAMING, Mode.CLIPS])
@pytest.mark.parametrize("role", ROLES)
@given(st.lists(DAMAGE, min_size=1, max_size=3), PLACES)
def test_a_damaged_call(role: str, mode: Mode, damage: list[Damage], places: list[int]) -> None:
    def run(chunking: Callable[[bytes], list[bytes]]) -> Outcome:
        driven = an_end(role, mode)
        data = CALLS[mode][role]
        for change in damage:
            data = change(data) or b"\0"
        seen = outcome(driven, [*chunking(data), b""])
        assert driven.end.finished
        return seen

    whole = run(lambda data: [data])
    assert run(lambda data: cut(data, places)) == whole


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("role", ROLES)
def test_a_call_with_one_bit_flipped(role: str, mode: Mode) -> None:
    """Each bit in turn where there is time for that; else one of so many, of every byte's eight."""
    said = CALLS[mode][role]
    for bit in range(0, 8 * len(said), 1 if DEEP else 97):
        data, at = _flip(bit)(said), bit // 8
        one, other = an_end(role, mode), an_end(role, mode)
        whole = outcome(one, [data, b""])
        assert one.end.finished, bit
        assert outcome(other, [*cut(data, [at, at + 1]), b""]) == whole, bit


# Every state that a connection can be in, and whatever a peer can do there.

FRAMES: Final = {role: CALLS[Mode.STREAMING][role][len(HEADS[role]) :] for role in ROLES}


def states(role: str) -> Iterator[tuple[str, Driven]]:
    """An end in each state that a connection can be in."""

    def after(*chunks: bytes, stalls: bool = False) -> Driven:
        driven = an_end(role, stalls=stalls)
        driven.take(*chunks)
        return driven

    head, mask = HEADS[role], MASKS[role]
    yield "new", after()
    yield "in the head", after(head[:50])
    yield "open", after(head)
    yield "talking", after(head, FRAMES[role][: len(FRAMES[role]) * 2 // 3])
    yield "in a frame", after(head, frame(TEXT, b"{}", mask=mask)[:-1])
    yield "in a message", after(head, frame(TEXT, b'{"a', fin=False, mask=mask))
    yield "closed", after(head, frame(CLOSE, mask=mask))
    yield "lost", after(head, b"")
    closing = after(head)
    closing.end.close()
    yield "closing", closing
    yield "at fault", after(head, frame(3, mask=mask))
    if role == "app":
        yield "not answering", after(head, stalls=True)
        yield "refusing", after(asking(Sec_WebSocket_Protocol="other"))
        yield "told no metadata", after(head, frame(TEXT, b"[]", mask=mask))
        leaving = after(head, frame(TEXT, b"{}", mask=mask))
        leaving.end.send(Disconnect())
        yield "leaving", leaving
    else:
        yield "told to wait", after(b"HTTP/1.1 100 Continue\r\n\r\n")
        yield "refused", after(b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nS")
        yield "refused until the end", after(b"HTTP/1.1 404 \r\n\r\nNot")
        yield "without subprotocol", after(head.replace(b"Sec-WebSocket-Protocol", b"X"))
        for moment, heads in (("before the answer", ()), ("afterwards", (head,))):
            hung_up = after(*heads)
            hung_up.end.task.hang_up()
            yield f"hung up {moment}", hung_up


def hostile_pieces(role: str) -> st.SearchStrategy[bytes]:
    """What a peer may say that knows the protocol, and does not mean well."""
    mask, wrong_mask = MASKS[role], MASKS[ROLES[role == "app"]]
    texts = st.one_of(
        nearly_legal_texts(),
        st.sampled_from(["[" * 1000, "9" * 1000, '"\\ud800"', '{"a":1}' * 200, "1 " * 900, "\0"]),
    ).map(lambda text: text.encode(errors="surrogateescape"))
    whole_texts = texts.map(lambda raw: frame(TEXT, raw, mask=mask))
    torn_texts = st.builds(
        lambda raw, at, between: (
            frame(TEXT, raw[:at], fin=False, mask=mask) + between + frame(CONT, raw[at:], mask=mask)
        ),
        texts,
        st.integers(0, 50),
        st.sampled_from(
            [
                b"",
                frame(PING, b"?", mask=mask),
                frame(CONT, fin=False, mask=mask) * 50,
                frame(TEXT, b"x", mask=mask),
                frame(CLOSE, close_payload(1000), mask=mask),
            ]
        ),
    )
    floods = st.sampled_from(
        [
            frame(PING, b"?", mask=mask) * 100,
            frame(BINARY, mask=mask) * 100,
            frame(BINARY, fin=False, mask=mask) + frame(CONT, b"x", fin=False, mask=mask) * 100,
            frame(BINARY, length=2**63 - 1, mask=mask),
            frame(BINARY, length=2**64 - 1, mask=mask),
            frame(PING, length=2**32, mask=mask),
            HEADS["app"],
            HEADS["platform"],
            b"X: y\r\n" * 100,
            b"HTTP/1.1 100 \r\n\r\n" * 100,
        ]
    )
    return st.one_of(
        whole_texts,
        torn_texts,
        frames(masks=[mask] * 5 + [wrong_mask]),
        floods,
        st.binary(max_size=300),
        st.sampled_from([HEADS[role], FRAMES[role], HEADS[role][50:], FRAMES[role][1:]]),
    )


@pytest.mark.parametrize("role", ROLES)
@given(st.data(), PLACES, st.booleans())
def test_anything_in_every_state(
    role: str, data: st.DataObject, places: list[int], writes: bool
) -> None:
    said = b"".join(data.draw(st.lists(hostile_pieces(role), max_size=5)))
    for (state, one), (_, other) in zip(states(role), states(role), strict=True):
        whole = outcome(one, [*filter(None, [said]), b""])
        assert one.end.finished, state
        assert one.end.ended, state
        assert outcome(other, [*cut(said, places), b""], writes=writes) == whole, state


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "header",
    [
        b"Content-Length: " + b"9" * 5000,
        b"Content-Length: -1",
        b"Content-Length: 1, 2",
        b"Transfer-Encoding: chunked, gzip",
        b"Sec-WebSocket-Protocol: " + b"," * 5000,
        b"Connection: " + b"upgrade," * 1000,
        b"Authorization: Basic \xff",
        b": x",
        b"X\0: y",
        b"X: \0",
        b"X: \x80\xff",
        b" folded",
    ],
)
def test_a_hostile_header(role: str, header: bytes) -> None:
    for status in (b"101", b"200", b"100"):
        driven = Driven(an_app() if role == "app" else a_platform())
        head = HEADS[role].replace(b" 101", b" " + status)
        outcome(driven, [head[:-2] + header + b"\r\n\r\n" + FRAMES[role], b""])
        assert driven.end.finished
