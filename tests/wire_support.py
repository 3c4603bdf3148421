"""HTTP upgrades and WebSocket frames as bytes, good and bad, and both ends opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, pairwise
from operator import xor
from typing import Any

from hypothesis import strategies as st
from wsproto.utilities import generate_accept_token

from listenproto._upgrade import Accepted, Request
from listenproto._wire import ClientWire, ServerWire, Wire, WireEvent

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, 1.3
UPGRADE = {
    "Host": "app.example",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "audio.jambonz.org, other",
}


def head(first: str, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def request(first: str = "GET /call?id=7 HTTP/1.1", **changes: str | None) -> bytes:
    changed = UPGRADE | {name.replace("_", "-"): value for name, value in changes.items()}
    return head(first, [(name, value) for name, value in changed.items() if value is not None])


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes = b"",
    length: int | None = None,
    form: int | None = None,
) -> bytes:
    """One frame. ``length`` lies about the payload's, ``form`` (7, 16, 64) about its own size."""
    length = len(payload) if length is None else length
    form = form or (7 if length < 126 else 16 if length < 65536 else 64)
    short = {7: length, 16: 126, 64: 127}[form]
    start = bytes([fin << 7 | rsv << 4 | opcode, bool(mask) << 7 | short])
    extended = b"" if form == 7 else length.to_bytes(form // 8, "big")
    if mask:
        payload = bytes(map(xor, payload, cycle(mask)))
    return start + extended + mask + payload


def masked(opcode: int, payload: bytes = b"", **options: Any) -> bytes:
    return frame(opcode, payload, mask=b"\x37\xfa\x21\x3d", **options)


def close_payload(code: int, reason: bytes = b"") -> bytes:
    return code.to_bytes(2, "big") + reason


def open_server(**options: Any) -> ServerWire:
    wire = ServerWire(**options)
    wire.feed(request())
    (event,) = wire.events()
    assert isinstance(event, Request)
    wire.accept("audio.jambonz.org")
    wire.data_to_send()
    return wire


def key_of(asked: bytes) -> bytes:
    (line,) = [line for line in asked.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key: ")]
    return line.partition(b": ")[2]


def answer(wire: ClientWire, status: str = "101 Switching Protocols", **changes: Any) -> bytes:
    """The server's 101; takes the wire's request out of it."""
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": generate_accept_token(key_of(wire.data_to_send())).decode(),
    }
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    return head(f"HTTP/1.1 {status}", [item for item in headers.items() if item[1] is not None])


def open_client(**options: Any) -> ClientWire:
    wire = ClientWire("app.example", **options)
    wire.feed(answer(wire))
    (event,) = wire.events()
    assert isinstance(event, Accepted)
    return wire


def read_frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The opcode and the unmasked payload of each frame that an end has sent."""
    while data:
        masked, length, at = data[1] & 0x80, data[1] & 0x7F, 2
        if length > 125:
            size = 2 if length == 126 else 8
            length, at = int.from_bytes(data[2 : 2 + size], "big"), 2 + size
        mask = data[at : at + 4] if masked else bytes(4)
        at += 4 if masked else 0
        assert data[0] & 0xF0 == 0x80
        assert len(data) >= at + length
        yield data[0] & 0x0F, bytes(map(xor, data[at : at + length], cycle(mask)))
        data = data[at + length :]


def take(wire: Wire, data: bytes) -> list[WireEvent]:
    wire.feed(data)
    return list(wire.events())


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    """The stream in pieces, none of them empty: an empty one would be its end."""
    edges = [0, *sorted({place % (len(stream) + 1) for place in places}), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges) if a < b]


def bytewise(stream: bytes) -> list[bytes]:
    return [stream[i : i + 1] for i in range(len(stream))]


@st.composite
def frames(draw: st.DrawFn, masks: Sequence[bytes], *, whole: bool = False) -> bytes:
    """A frame, good or nearly so; a whole one has as many bytes as it says."""
    form = draw(st.sampled_from([None] * 6 + [7, 16, 64]))
    payload = draw(st.binary(max_size=20) | st.builds(bytes, st.integers(120, 130)))
    if form == 7:
        payload = payload[:125]
    lengths = st.sampled_from([None] * 10 + [100, 2**17] * (not whole))
    return frame(
        draw(st.sampled_from([CONT, TEXT, BINARY, CLOSE, PING, PONG] * 3 + [*range(16)])),
        payload,
        fin=draw(st.booleans()),
        rsv=draw(st.sampled_from([0] * 10 + [1, 2, 4])),
        mask=draw(st.sampled_from(masks)),
        length=draw(lengths) if form in (None, 64) else None,
        form=form,
    )
