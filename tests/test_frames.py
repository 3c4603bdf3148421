"""Frames in both roles: what Autobahn's testsuite asks for, in memory, and wsproto as the judge.

The cases are named by the testsuite's groups; tests/autobahn runs the testsuite itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, product
from typing import Any, Final, TypeAlias

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wsproto import ConnectionType
from wsproto import events as ws
from wsproto.connection import Connection

from listenproto._errors import RemoteProtocolError
from listenproto._frames import Closed, FrameEvent, FrameReader, Ping, Pong, frame
from listenproto._wire import Wire, WireState
from tests import wire_support
from tests.wire_support import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    bytewise,
    close_payload,
    cut,
    frames,
    open_client,
    open_server,
    read_frames,
)

Sent: TypeAlias = list[tuple[int, bytes]]
"""Opcodes and payloads of frames; of a close, the code alone."""

ROLES: Final[dict[str, tuple[Callable[[], Wire], bytes]]] = {
    "app": (open_server, b"\x37\xfa\x21\x3d"),
    "platform": (open_client, b""),
}
"""How each role's end is opened, and the mask of the frames that it reads."""


@attrs.frozen
class Frame:
    opcode: int
    payload: bytes = b""
    options: dict[str, Any] = attrs.field(factory=dict)

    def raw(self, mask: bytes) -> bytes:
        return wire_support.frame(self.opcode, self.payload, mask=mask, **self.options)


@attrs.frozen
class Case:
    frames: list[Frame]
    sent: Sent
    chop: int = 1
    """How many bytes come at once in the most cut-up of the ways that the frames come in."""


def close(code: int = 1000, reason: bytes = b"") -> Frame:
    return Frame(CLOSE, close_payload(code, reason))


def said(code: int) -> tuple[int, bytes]:
    return CLOSE, code.to_bytes(2, "big")


def good(*came: Frame, sent: Sent, chop: int = 1) -> Case:
    """The end answers all, the last being a close."""
    return Case([*came, close()], [*sent, said(1000)], chop)


def bad(*came: Frame, sent: Sent = [], code: int = 1002) -> Case:  # noqa: B006
    """The end fails, and so does not answer what comes behind."""
    behind = [Frame(TEXT, b"ignored"), Frame(PING), close()]
    return Case([*came, *behind], [*sent, said(code)])


def pieces(opcode: int, payload: bytes, size: int, between: Iterable[Frame] = ()) -> list[Frame]:
    """A message in fragments of a size, with other frames behind each but the last."""
    cuts = [payload[i : i + size] for i in range(0, len(payload), size)] or [b""]
    came: list[Frame] = []
    for number, piece in enumerate(cuts):
        last = number == len(cuts) - 1
        came.append(Frame(CONT if number else opcode, piece, {"fin": last}))
        if not last:
            came += between
    return came


STAR: Final = b"*"
HELLO: Final = (TEXT, b"hello")


def group_1() -> Iterator[tuple[str, Case]]:
    """Messages of every form of length."""
    for opcode, size in product((TEXT, BINARY), (0, 1, 125, 126, 127, 128, 65535, 65536)):
        payload = STAR * size
        chop = 1 if size < 1000 else 997
        yield (
            f"{opcode} of {size}",
            good(Frame(opcode, payload), sent=[(opcode, payload)], chop=chop),
        )


def group_2() -> Iterator[tuple[str, Case]]:
    """Pings and pongs."""
    for payload in (b"", b"hello", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125):
        yield f"ping {payload[:9]!r}", good(Frame(PING, payload), sent=[(PONG, payload)])
        yield f"unasked pong {payload[:9]!r}", good(Frame(PONG, payload), sent=[])
    yield "long ping", bad(Frame(PING, b"\xfe" * 126))
    yield "pong, then ping", good(Frame(PONG, b"a"), Frame(PING, b"b"), sent=[(PONG, b"b")])
    ten = [b"payload-%d" % number for number in range(10)]
    answers = [(PONG, payload) for payload in ten]
    yield "ten pings", good(*[Frame(PING, payload) for payload in ten], sent=answers)


def group_3() -> Iterator[tuple[str, Case]]:
    """Reserved bits."""
    hello = Frame(TEXT, b"hello")
    for rsv, opcode in product(range(1, 8), (TEXT, BINARY, PING, PONG, CLOSE)):
        payload = close_payload(1000) if opcode == CLOSE else b"x"
        odd = Frame(opcode, payload, {"rsv": rsv})
        yield f"bits {rsv} of {opcode}", bad(hello, odd, sent=[HELLO])
    odd = Frame(CONT, b"x", {"rsv": 4})
    yield "of a continuation", bad(Frame(TEXT, b"x", {"fin": False}), odd)


def group_4() -> Iterator[tuple[str, Case]]:
    """Opcodes that mean nothing."""
    for opcode, payload in product((*range(3, 8), *range(11, 16)), (b"", b"x")):
        hello, odd = Frame(TEXT, b"hello"), Frame(opcode, payload)
        yield f"{opcode} with {payload!r}", bad(hello, odd, sent=[HELLO])
    begun = Frame(TEXT, b"x", {"fin": False})
    yield "inside a message", bad(begun, Frame(3, b"x"))


def group_5() -> Iterator[tuple[str, Case]]:
    """Fragments."""
    ping, pong = Frame(PING, b"pinged"), (PONG, b"pinged")
    for opcode in (PING, PONG):
        yield f"fragmented {opcode}", bad(Frame(opcode, b"a", {"fin": False}), Frame(CONT, b"b"))
    for opcode, size in product((TEXT, BINARY), (1, 4, 9)):
        message = b"fragment1fragment2"
        count = -(-len(message) // size)
        plain = pieces(opcode, message, size)
        yield f"{opcode} by {size}", good(*plain, sent=[(opcode, message)])
        mixed = pieces(opcode, message, size, [ping])
        answers = [*[pong] * (count - 1), (opcode, message)]
        yield f"{opcode} by {size}, pings between", good(*mixed, sent=answers)
        unasked = pieces(opcode, message, size, [Frame(PONG, b"x")])
        yield f"{opcode} by {size}, pongs between", good(*unasked, sent=[(opcode, message)])
    for fin in (True, False):
        stray = Frame(CONT, b"stray", {"fin": fin})
        yield f"continuation of nothing, {fin}", bad(stray)
        yield (
            f"continuation behind a message, {fin}",
            bad(Frame(TEXT, b"hello"), stray, sent=[HELLO]),
        )
        begun = Frame(TEXT, b"hello", {"fin": False})
        yield (
            f"continuation of a whole message, {fin}",
            bad(begun, Frame(CONT), stray, sent=[HELLO]),
        )
        for opcode in (TEXT, BINARY):
            other = Frame(opcode, b"x", {"fin": fin})
            yield f"{opcode} inside a message, {fin}", bad(begun, other)
            yield (
                f"{opcode} inside a message behind a ping, {fin}",
                bad(begun, ping, other, sent=[pong]),
            )
    empty = [Frame(TEXT, b"", {"fin": False}), *[Frame(CONT, b"", {"fin": False})] * 3]
    yield "nothing but empty fragments", good(*empty, Frame(CONT), sent=[(TEXT, b"")])
    yield (
        "empty fragments around",
        good(
            *empty, Frame(CONT, b"x", {"fin": False}), *empty[1:], Frame(CONT), sent=[(TEXT, b"x")]
        ),
    )
    yield "left unfinished", Case([Frame(TEXT, b"x", {"fin": False}), close()], [said(1000)])


CHARACTERS: Final = (
    "Hello-µ@ßöäüàá-UTF-8!!",
    "κόσμε",
    *map(chr, (0, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFD, 0x10000)),
    *(chr(plane << 16 | last) for plane in range(0x11) for last in (0xFFFE, 0xFFFF)),
)
NO_CHARACTERS: Final = (
    "f8 88 80 80 80",  # five bytes, six bytes, and beyond the last character
    "fb bf bf bf bf",
    "fc 84 80 80 80 80",
    "fd bf bf bf bf bf",
    "f7 bf bf bf",
    "f4 90 80 80",
    "80",  # continuations of nothing
    "bf",
    "80 bf 80 bf 80 bf",
    "41 80",
    "c3",  # begun and not ended
    "c3 20",
    "e1 80",
    "e1 80 20",
    "e1 20 80",
    "f1 80 80",
    "f1 80 80 20",
    "f1 20",
    "c3 c3 a4",
    "fe",
    "ff",
    "fe fe ff ff",
    "c0 af",  # in more bytes than needed
    "c1 bf",
    "c0 80",
    "e0 80 af",
    "e0 9f bf",
    "f0 80 80 af",
    "f0 8f bf bf",
    "ed a0 80",  # surrogates
    "ed af bf",
    "ed b0 80",
    "ed bf bf",
    "ed a0 80 ed b0 80",
)


def group_6() -> Iterator[tuple[str, Case]]:
    """UTF-8."""
    for text in CHARACTERS:
        data = text.encode()
        for where, sequence in (("", data), ("inside ", b"a" + data + b"z")):
            whole = good(Frame(TEXT, sequence), sent=[(TEXT, sequence)])
            yield f"{where}{text!a}", whole
            yield (
                f"{where}{text!a}, by byte",
                attrs.evolve(whole, frames=[*pieces(TEXT, sequence, 1), close()]),
            )
    for digits in NO_CHARACTERS:
        data = bytes.fromhex(digits)
        for where, sequence in (("", data), ("inside ", "κόσμε".encode() + data + b"edited")):
            yield f"{where}{digits}", bad(Frame(TEXT, sequence), code=1007)
            yield f"{where}{digits}, by byte", bad(*pieces(TEXT, sequence, 1), code=1007)
            yield (
                f"{where}{digits}, binary",
                good(Frame(BINARY, sequence), sent=[(BINARY, sequence)]),
            )
    hello = Frame(TEXT, b"hello")
    yield "behind a good one", bad(hello, Frame(TEXT, b"\xff"), code=1007, sent=[HELLO])


def group_7() -> Iterator[tuple[str, Case]]:
    """Closes."""
    ignored = [Frame(TEXT, b"x"), Frame(PING), Frame(CONT, b"x"), close(1001), Frame(3)]
    for behind in ignored:
        yield f"{behind.opcode} behind a close", Case([close(), behind], [said(1000)])
    for code in (1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999):
        yield f"code {code}", Case([close(code, b"so it goes")], [said(code)])
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
        yield f"bad code {code}", bad(close(code))
    yield "no code", Case([Frame(CLOSE)], [said(1000)])
    yield "half a code", bad(Frame(CLOSE, b"\x03"))
    yield "fragmented", bad(Frame(CLOSE, close_payload(1000), {"fin": False}))
    yield "reason of 123", Case([close(1000, STAR * 123)], [said(1000)])
    yield "reason of 124", bad(close(1000, STAR * 124))
    for text in CHARACTERS:
        yield f"reason {text!a}", Case([close(1000, text.encode())], [said(1000)])
    for digits in NO_CHARACTERS:
        yield f"reason {digits}", bad(close(1000, bytes.fromhex(digits)), code=1007)


def group_9() -> Iterator[tuple[str, Case]]:
    """Large messages, small fragments, small reads."""
    for opcode in (TEXT, BINARY):
        for size in (2**16, 2**18):
            sent = [(opcode, STAR * size)]
            yield f"{opcode} of {size}", good(Frame(opcode, STAR * size), sent=sent, chop=2**16)
        for size, by in ((2**16, 2**8), (2**16, 2**12), (2**18, 2**16)):
            came = pieces(opcode, STAR * size, by)
            yield (
                f"{opcode} of {size} by {by}",
                good(*came, sent=[(opcode, STAR * size)], chop=1500),
            )
        sent = [(opcode, STAR * 2**14)]
        yield f"{opcode} in tiny reads", good(Frame(opcode, STAR * 2**14), sent=sent, chop=64)


def group_10() -> Iterator[tuple[str, Case]]:
    """A message in fragments as some send it."""
    sent = [(TEXT, STAR * 65536)]
    yield "by 1300", good(*pieces(TEXT, STAR * 65536, 1300), sent=sent, chop=1300)


GROUPS: Final = (
    group_1,
    group_2,
    group_3,
    group_4,
    group_5,
    group_6,
    group_7,
    group_9,
    group_10,
)


def answers(wire: Wire, chunks: Iterable[bytes]) -> Sent:
    """What an end sends that echoes each message and closes where it must."""
    out = b""
    for chunk in chunks:
        wire.feed(chunk)
        try:
            for event in wire.events():
                if isinstance(event, str | bytes):
                    wire.send(event)
        except RemoteProtocolError as error:
            if wire.state is WireState.FAILED:
                wire.close(error.close_code, str(error))
        out += wire.data_to_send()
    assert wire.finished
    return [
        (opcode, payload[:2] if opcode == CLOSE else payload)
        for opcode, payload in read_frames(out)
    ]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("group", GROUPS)
def test_a_group_of_the_testsuite(
    group: Callable[[], Iterator[tuple[str, Case]]], role: str
) -> None:
    """Each case at once, frame by frame, and cut up."""
    open_end, mask = ROLES[role]
    for name, case in group():
        one_by_one = [frame.raw(mask) for frame in case.frames]
        stream = b"".join(one_by_one)
        chopped = [stream[i : i + case.chop] for i in range(0, len(stream), case.chop)]
        for chunks in ([stream], one_by_one, chopped):
            assert (name, answers(open_end(), chunks)) == (name, case.sent)


# wsproto as the judge of what is read by hand.

Judged: TypeAlias = tuple[list[FrameEvent], int | None]
"""The events, and the code with which the end fails; None if it does not."""


def by_wsproto(role: str, stream: bytes) -> Judged:
    """What wsproto alone reads: a stream at once, its fragments joined."""
    server = role == "app"
    judge = Connection(ConnectionType.SERVER if server else ConnectionType.CLIENT)
    judge.receive_data(stream)
    seen: list[FrameEvent] = []
    parts: list[Any] = []
    for event in judge.events():
        if isinstance(event, ws.Message):
            parts.append(event.data)
            if event.message_finished:
                seen.append(type(event.data)().join(parts))
                parts.clear()
        elif isinstance(event, ws.Ping):
            seen.append(Ping(bytes(event.payload)))
        elif isinstance(event, ws.Pong):
            seen.append(Pong(bytes(event.payload)))
        else:
            assert isinstance(event, ws.CloseConnection)
            if judge.state.name == "OPEN":  # so it words a fault
                return seen, int(event.code)
            seen.append(Closed(int(event.code), event.reason or "", clean=True))
    return seen, None


def by_ours(role: str, chunks: Iterable[bytes]) -> Judged:
    wire = ROLES[role][0]()
    seen: list[FrameEvent] = []
    try:
        for chunk in chunks:
            wire.feed(chunk)
            for event in wire.events():
                assert isinstance(event, FrameEvent)
                seen.append(event)
    except RemoteProtocolError as error:
        return seen, error.close_code
    return seen, None


PLACES = st.lists(st.integers(0, 2**16), max_size=12)
MASKS = st.binary(min_size=4, max_size=4)
SIZES = (0, 1, 3, 4, 124, 125, 126, 127, 319, 320, 321, 4095, 4096, 4097, 65535, 65536)


@given(st.data(), st.sampled_from([*ROLES]), PLACES)
def test_frames_mean_what_they_mean_to_wsproto(
    data: st.DataObject, role: str, places: list[int]
) -> None:
    """Good and bad frames in any order, in any chunks."""
    mask = ROLES[role][1]
    drawn = data.draw(st.lists(frames([mask] * 9 + [b"mask"[len(mask) :]], whole=True), max_size=9))
    stream = b"".join(drawn)
    assert by_ours(role, cut(stream, places)) == by_wsproto(role, stream)
    assert by_ours(role, bytewise(stream)) == by_wsproto(role, stream)


@st.composite
def conversations(draw: st.DrawFn, masked: bool) -> bytes:
    """Good frames: messages whole and in fragments, with controls between, and perhaps a close."""
    stream = b""

    def add(opcode: int, payload: bytes, *, fin: bool = True) -> None:
        nonlocal stream
        mask = draw(MASKS) if masked else b""
        stream += wire_support.frame(opcode, payload, fin=fin, mask=mask)

    def controls() -> None:
        for opcode in draw(st.lists(st.sampled_from([PING, PONG]), max_size=2)):
            add(opcode, draw(st.binary(max_size=9)))

    for opcode in draw(st.lists(st.sampled_from([TEXT, BINARY]), max_size=6)):
        text, binary = st.text(max_size=200).map(str.encode), st.binary(max_size=400)
        payload = draw(text if opcode == TEXT else binary)
        controls()
        for number, piece in enumerate(parts := cut(payload, draw(PLACES)) or [b""]):
            add(CONT if number else opcode, piece, fin=number == len(parts) - 1)
            if number < len(parts) - 1:
                controls()
    if draw(st.booleans()):
        add(CLOSE, close_payload(1001, b"done"))
        add(TEXT, b"behind")
    return stream


@given(st.data(), st.sampled_from([*ROLES]), PLACES)
def test_a_conversation_means_what_it_means_to_wsproto(
    data: st.DataObject, role: str, places: list[int]
) -> None:
    stream = data.draw(conversations(masked=bool(ROLES[role][1])))
    seen = by_wsproto(role, stream)
    assert seen[1] is None
    assert by_ours(role, cut(stream, places)) == seen
    assert by_ours(role, bytewise(stream)) == seen


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("role", ROLES)
def test_a_message_of_any_size_means_what_it_means_to_wsproto(role: str, size: int) -> None:
    mask = ROLES[role][1]
    pattern = bytes(range(256)) * (size // 256 + 1)
    for opcode, payload in ((BINARY, pattern[:size]), (TEXT, STAR * size)):
        raw = [wire_support.frame(opcode, payload, mask=mask) for _ in range(3)]
        stream = b"".join(raw)
        seen = by_wsproto(role, stream)
        ends = [*accumulate(map(len, raw))]
        for places in ([], ends, [1], [2, 3], [ends[0] - 1], [ends[0] + 1], [ends[1] - 1]):
            assert by_ours(role, cut(stream, places)) == seen
        assert len(seen[0]) == 3


def reader(role: str, max_message: int = 2**20) -> FrameReader:
    return FrameReader(masked=role == "app", max_message=max_message, lenient_first_text=False)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 256, 257, 4095, 4096])
@pytest.mark.parametrize("role", ROLES)
def test_a_short_message_in_one_frame_is_read_by_hand(role: str, size: int) -> None:
    mask, behind = ROLES[role][1], b"\x82"
    payload = (b"\x01\x80*" * size)[:size]
    for opcode, data, message in ((BINARY, payload, payload), (TEXT, STAR * size, "*" * size)):
        raw = wire_support.frame(opcode, data, mask=mask)
        for rest in (b"", behind):
            buffer = bytearray(raw + rest)
            assert reader(role, max_message=size).next_plain(buffer) == message
            assert buffer == rest


@pytest.mark.parametrize("role", ROLES)
def test_whatever_else_comes_is_left_to_wsproto(role: str) -> None:
    mask = ROLES[role][1]
    wrong = b"" if mask else b"mask"
    plain = wire_support.frame(BINARY, bytes(200), mask=mask)
    others = [
        *(plain[:size] for size in range(len(plain))),
        wire_support.frame(BINARY, bytes(4097), mask=mask),
        wire_support.frame(BINARY, bytes(65536), mask=mask),
        wire_support.frame(BINARY, bytes(200), mask=wrong),
        wire_support.frame(BINARY, bytes(5), mask=wrong),
        wire_support.frame(BINARY, bytes(125), mask=mask, form=16),
        wire_support.frame(BINARY, bytes(125), mask=mask, form=64),
        wire_support.frame(BINARY, bytes(5), mask=mask, fin=False),
        wire_support.frame(TEXT, b"abc", mask=mask, rsv=4),
        *(wire_support.frame(code, b"", mask=mask) for code in range(16) if code not in (1, 2)),
    ]
    for raw in others:
        buffer = bytearray(raw)
        assert reader(role).next_plain(buffer) is None
        assert buffer == raw
    assert reader(role, max_message=199).next_plain(bytearray(plain)) is None
    begun = reader(role)
    assert begun.next(bytearray(wire_support.frame(TEXT, b"a", mask=mask, fin=False))) is None
    assert begun.next_plain(bytearray(plain)) is None
    halfway = reader(role)
    long = wire_support.frame(BINARY, plain, mask=mask)
    buffer = bytearray(long[: 4 + len(mask)])
    assert halfway.next(buffer) is None
    buffer += plain  # as the front of the payload
    assert halfway.next_plain(buffer) is None


@given(st.binary(max_size=300) | st.sampled_from(SIZES).map(bytes), MASKS)
@example(b"\xff" * 320, b"\xff\xff\xff\xff")
@example(b"\0" * 9, b"\0\0\0\0")
def test_any_mask_is_taken_off(payload: bytes, mask: bytes) -> None:
    stream = wire_support.frame(BINARY, payload, mask=mask)
    assert by_ours("app", [stream]) == ([payload], None)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_what_is_written_is_what_wsproto_writes(opcode: int, size: int) -> None:
    message = ws.TextMessage("*" * size) if opcode == TEXT else ws.BytesMessage(STAR * size)
    payload = STAR * size
    plain = frame(opcode, payload, masked=False)
    assert plain == Connection(ConnectionType.SERVER).send(message)
    masked = frame(opcode, payload, masked=True)
    assert len(masked) == len(Connection(ConnectionType.CLIENT).send(message))
    assert by_wsproto("app", masked) == by_wsproto("platform", plain)


def test_each_frame_of_a_client_has_a_mask_of_its_own() -> None:
    masks = {frame(BINARY, b"x", masked=True)[2:6] for _ in range(50)}
    assert len(masks) > 45
