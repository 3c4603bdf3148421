"""The wire: HTTP upgrade and framing, from both ends, over any chunking, and with broken peers."""

from __future__ import annotations

import base64
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.server import ServerProtocol
from websockets.uri import parse_uri
from wsproto import ConnectionType, WSConnection
from wsproto import events as ws
from wsproto.utilities import generate_accept_token

from listenproto._errors import LocalProtocolError, RemoteProtocolError
from listenproto._upgrade import Accepted, Rejected, Request
from listenproto._wire import ClientWire, Closed, Ping, Pong, ServerWire, Wire, WireEvent, WireState
from tests.differing import first_difference
from tests.wire_support import (
    BINARY,
    CLOSE,
    CONT,
    KEY,
    PING,
    PONG,
    TEXT,
    UPGRADE,
    answer,
    bytewise,
    close_payload,
    cut,
    frame,
    frames,
    head,
    masked,
    open_client,
    open_server,
    request,
    take,
)


def fault(wire: Wire, data: bytes, *before: WireEvent) -> RemoteProtocolError:
    """Feed bytes with a fault in them; the error, after checking what came before and after it."""
    wire.feed(data)
    events = wire.events()
    for event in before:
        assert next(events) == event
    with pytest.raises(RemoteProtocolError) as caught:
        next(events)
    wire.feed(b"more")
    with pytest.raises(RemoteProtocolError) as again:
        list(wire.events())
    assert again.value is caught.value
    return caught.value


Outcome = list[WireEvent | tuple[str, str, int]]


def outcome(wire: Wire, chunks: Iterable[bytes]) -> Outcome:
    """All that a stream of bytes comes to, the error at its end included.

    A server accepts what it can and rejects the rest.
    """
    seen: Outcome = []
    for chunk in chunks:
        wire.feed(chunk)
        try:
            for event in wire.events():
                seen.append(event)
                if isinstance(event, Request) and isinstance(wire, ServerWire):
                    if event.upgrade_fault is None:
                        wire.accept()
                    else:
                        wire.reject(400)
        except RemoteProtocolError as error:
            return [*seen, (str(error), error.clause, error.close_code)]
    return seen


PLACES = st.lists(st.integers(0, 2**16), max_size=12)


def test_a_request_is_yielded_and_waits() -> None:
    wire = ServerWire()
    (event,) = take(wire, request(Authorization="Basic eDp5", X_Two="a"))
    assert isinstance(event, Request)
    assert (event.method, event.target, event.path) == ("GET", "/call?id=7", "/call")
    assert event.header("AUTHORIZATION") == "Basic eDp5"
    assert event.header("absent") is None
    assert event.subprotocols == ("audio.jambonz.org", "other")
    assert event.is_upgrade
    assert event.upgrade_fault is None
    assert list(wire.events()) == []
    assert (wire.state, wire.is_open, wire.finished) == (WireState.ANSWERING, False, False)
    assert wire.data_to_send() == b""


def test_accept_answers_with_the_token_of_the_rfc() -> None:
    wire = ServerWire()
    take(wire, request())
    wire.accept("audio.jambonz.org", [("X-Call", "7")])
    sent = wire.data_to_send()
    assert sent.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in sent
    assert b"\r\nSec-WebSocket-Protocol: audio.jambonz.org\r\n" in sent
    assert b"\r\nX-Call: 7\r\n" in sent
    assert sent.endswith(b"\r\n\r\n")
    assert wire.is_open
    assert wire.pending == 0


def test_repeated_headers_are_one_list() -> None:
    headers = [*UPGRADE.items(), ("Sec-WebSocket-Protocol", ",third ,, fourth")]
    (event,) = take(ServerWire(), head("GET / HTTP/1.1", headers))
    assert isinstance(event, Request)
    assert event.subprotocols == ("audio.jambonz.org", "other", "third", "fourth")


@pytest.mark.parametrize("name", ["Authorization", "Connection", "Sec-WebSocket-Protocol", "X-Any"])
def test_headers_need_not_be_ascii(name: str) -> None:
    wire = ServerWire()
    (event,) = take(wire, request(**{name: "é\xa0upgrade, audio.jambonz.org\xa0"}))
    assert isinstance(event, Request)
    assert event.header(name) == "é\xa0upgrade, audio.jambonz.org\xa0"
    assert event.subprotocols[-1:] != ("audio.jambonz.org",)  # \xa0 is no HTTP white space
    wire.reject(400)


@pytest.mark.parametrize(
    "raw",
    [
        request(Upgrade=None),
        request(Connection="close"),
        request(Sec_WebSocket_Key=None),
        request(Sec_WebSocket_Key=base64.b64encode(bytes(15)).decode()),
        request(Sec_WebSocket_Key="not base64"),
        request(Sec_WebSocket_Key=KEY + ", " + KEY),
        request(Sec_WebSocket_Key="é" + KEY[1:]),
        request(Sec_WebSocket_Version="8"),
        request(Sec_WebSocket_Version=None),
        request("POST / HTTP/1.1"),
        request("GET / HTTP/1.0"),
        b"GET /health HTTP/1.0\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_requests_that_can_only_be_rejected(raw: bytes) -> None:
    wire = ServerWire()
    (event,) = take(wire, raw)
    assert isinstance(event, Request)
    assert event.upgrade_fault
    with pytest.raises(LocalProtocolError, match="cannot accept this request"):
        wire.accept()
    assert wire.pending == 0
    wire.reject(400, body="No.")
    assert wire.finished
    assert wire.data_to_send().endswith(b"\r\n\r\nNo.")


def test_accept_wants_an_offered_subprotocol_and_clean_headers() -> None:
    wire = ServerWire()
    take(wire, request())
    with pytest.raises(LocalProtocolError, match="does not offer subprotocol mine"):
        wire.accept("mine")
    with pytest.raises(LocalProtocolError, match="response cannot be sent"):
        wire.accept(headers=[("X", "a\r\nb: c")])
    with pytest.raises(LocalProtocolError, match="response cannot be sent"):
        wire.accept(headers=[("X", "é")])
    assert wire.pending == 0
    wire.accept()
    assert b"Sec-WebSocket-Protocol" not in wire.data_to_send()


def test_reject_is_a_whole_http_response() -> None:
    wire = ServerWire()
    take(wire, request())
    with pytest.raises(LocalProtocolError, match="response cannot be sent"):
        wire.reject(101)
    with pytest.raises(LocalProtocolError, match="response cannot be sent"):
        wire.reject(401, [("WWW-Authenticate", "Basic\n")])
    wire.reject(401, [("WWW-Authenticate", "Basic")], "Who are you, Ä?")
    body = "Who are you, Ä?".encode()
    sent, _, after = wire.data_to_send().partition(b"\r\n\r\n")
    assert after == body
    lines = sent.split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.1 401 ")
    assert set(lines[1:]) == {
        b"WWW-Authenticate: Basic",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Length: %d" % len(body),
        b"Connection: close",
    }
    assert wire.finished
    assert take(wire, b"anything") == take(wire, b"") == []
    for verb in (wire.reject, lambda status: wire.accept()):
        with pytest.raises(LocalProtocolError, match="closed"):
            verb(400)


def test_a_head_request_is_answered_without_a_body() -> None:
    wire = ServerWire()
    take(wire, b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    wire.reject(426, body="upgrade")
    sent = wire.data_to_send()
    assert b"\r\nContent-Length: 7\r\n" in sent
    assert sent.endswith(b"\r\n\r\n")


def test_nothing_but_an_answer_is_possible_before_accept() -> None:
    wire = ServerWire()
    for _ in range(2):
        for verb in (lambda: wire.send("x"), wire.ping, wire.close):
            with pytest.raises(LocalProtocolError):
                verb()
        wire.feed(request())
        list(wire.events())
    with pytest.raises(LocalProtocolError, match="needs a wire that is answering"):
        ServerWire().accept()
    with pytest.raises(LocalProtocolError, match="needs a wire that is answering"):
        ServerWire().reject(400)


def test_frames_behind_the_request_wait_for_accept() -> None:
    wire = ServerWire()
    early = masked(TEXT, b"early") + masked(PING, b"p") + masked(BINARY, b"half")[:-2]
    (event,) = take(wire, request() + early)
    assert isinstance(event, Request)
    assert list(wire.events()) == []
    wire.accept()
    assert list(wire.events()) == ["early", Ping(b"p")]
    assert take(wire, masked(BINARY, b"half")[-2:]) == [b"half"]


def test_accept_inside_the_loop_goes_straight_on_to_the_frames() -> None:
    seen = outcome(ServerWire(), [request() + masked(TEXT, b"early")])
    assert seen[1:] == ["early"]


def test_what_comes_before_the_answer_is_bounded() -> None:
    wire = ServerWire(max_message=1000)
    take(wire, request())
    assert take(wire, bytes(1014)) == []
    error = fault(wire, b"x")
    assert error.close_code == 1009
    assert wire.finished


@pytest.mark.parametrize("split", [False, True])
def test_too_long_a_request_is_answered_431(split: bool) -> None:
    def chunks(stream: bytes) -> list[bytes]:
        return bytewise(stream) if split else [stream]

    size = len(request())
    (event,) = outcome(ServerWire(max_head=size), chunks(request()))
    assert isinstance(event, Request)
    for stream in (request(), request() + masked(TEXT, b"x"), b"G" * size):
        wire = ServerWire(max_head=size - 1)
        ((_, clause, code),) = outcome(wire, chunks(stream))
        assert (clause[:9], code) == ("RFC 9110 ", 1002)
        assert wire.data_to_send().startswith(b"HTTP/1.1 431 ")
        assert wire.finished


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00",  # TLS, to a plain port
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    ],
)
def test_garbage_is_answered_400(raw: bytes) -> None:
    wire = ServerWire()
    error = fault(wire, raw)
    assert error.clause.startswith("RFC 9110")
    assert error.close_code == 1002
    assert wire.data_to_send().startswith(b"HTTP/1.1 400 ")
    assert wire.finished
    with pytest.raises(LocalProtocolError):
        wire.close()


def test_an_unknown_transfer_coding_is_answered_501() -> None:
    """RFC 9112, 6.1: that is no fault of the syntax."""
    wire = ServerWire()
    fault(wire, request(Transfer_Encoding="gzip"))
    assert wire.data_to_send().startswith(b"HTTP/1.1 501 ")


def test_the_client_asks_at_once() -> None:
    wire = ClientWire(
        "app.example:3000",
        "/call?id=7",
        subprotocols=["audio.jambonz.org", "other"],
        headers=[("Authorization", "Basic eDp5")],
    )
    assert wire.pending
    (event,) = take(ServerWire(), wire.data_to_send())
    assert isinstance(event, Request)
    assert event.upgrade_fault is None
    assert event.target == "/call?id=7"
    assert event.header("host") == "app.example:3000"
    assert event.header("authorization") == "Basic eDp5"
    assert event.subprotocols == ("audio.jambonz.org", "other")
    assert wire.pending == 0


def test_one_text_is_not_offered_letter_by_letter() -> None:
    with pytest.raises(ValueError, match=r"^subprotocols must be a tuple .*; it is 'audio'$"):
        ClientWire("x", subprotocols="audio")


@pytest.mark.parametrize(
    "options",
    [
        {"host": "a\r\nb"},
        {"host": "exämple"},
        {"host": "x", "target": "/a b"},
        {"host": "x", "target": "/ä"},
        {"host": "x", "target": "/\r\n"},
        {"host": "x", "target": ""},
        {"host": "x", "headers": [("X", "a\r\nb: c")]},
        {"host": "x", "headers": [("X", "ä")]},
        {"host": "x", "headers": [("X Y", "a")]},
        {"host": "x", "headers": [("Host", "y")]},
    ],
)
def test_what_no_request_can_carry_is_a_local_error(options: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError, match="this request cannot be sent: "):
        ClientWire(**options)


def test_the_answer_opens_the_client() -> None:
    wire = ClientWire("x", subprotocols=["a", "b"])
    with pytest.raises(LocalProtocolError):
        wire.send("too early")
    stream = answer(wire, Sec_WebSocket_Protocol="b", X="ä") + frame(TEXT, b"hi")
    accepted, text = take(wire, stream)
    assert isinstance(accepted, Accepted)
    assert accepted.subprotocol == "b"
    assert accepted.header("x") == "ä"
    assert text == "hi"
    assert wire.is_open


def test_no_subprotocol_in_the_answer_is_for_others_to_judge() -> None:
    wire = ClientWire("x", subprotocols=["a"])
    (accepted,) = take(wire, answer(wire))
    assert isinstance(accepted, Accepted)
    assert accepted.subprotocol is None


@pytest.mark.parametrize("chosen", ["c", "A", "a, b", "", "\xe4", "a\xa0"])
def test_a_subprotocol_that_was_not_offered_is_named(chosen: str) -> None:
    wire = ClientWire("x", subprotocols=["a", "b"])
    error = fault(wire, answer(wire, Sec_WebSocket_Protocol=chosen))
    assert error.clause == "LP-HS-18"
    assert repr(chosen) in str(error)
    assert "a, b" in str(error)
    assert wire.finished


@pytest.mark.parametrize(
    "changes",
    [
        {"Upgrade": "h2c"},
        {"Upgrade": None},
        {"Connection": "close"},
        {"Connection": "\xe4"},
        {"Sec_WebSocket_Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
        {"Sec_WebSocket_Accept": None},
        {"Sec_WebSocket_Extensions": "permessage-deflate"},
    ],
)
def test_a_101_is_checked(changes: dict[str, Any]) -> None:
    wire = ClientWire("x")
    error = fault(wire, answer(wire, **changes))
    assert error.clause == "RFC 6455 4.1"
    assert wire.finished
    with pytest.raises(LocalProtocolError):
        wire.close()


def test_the_accept_token_is_compared_exactly() -> None:
    wire = ClientWire("x")
    good = answer(wire)
    token = good.partition(b"Accept: ")[2].partition(b"\r\n")[0]
    assert "Accept" in str(fault(wire, good.replace(token, token.swapcase())))


def test_no_key_is_answered_like_an_empty_one() -> None:
    assert Request("/", ()).accept_token == generate_accept_token(b"").decode()


def test_other_informational_responses_are_skipped() -> None:
    wire = ClientWire("x")
    stream = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 \r\nLink: x\r\n\r\n" + answer(wire)
    (accepted,) = take(wire, stream)
    assert isinstance(accepted, Accepted)


REFUSALS = {
    "length": (b"Content-Length: 5\r\n\r\nSorry", b"Sorry", True),
    "empty": (b"Content-Length: 0\r\n\r\n", b"", True),
    "chunked": (
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nSo\r\n3;x=y\r\nrry\r\n0\r\n\r\n",
        b"Sorry",
        True,
    ),
    "bad chunk": (b"Transfer-Encoding: chunked\r\n\r\n2\r\nSo\r\nxyz\r\n", b"So", True),
    "until the end": (b"\r\nSorry", b"Sorry", False),
    "cut off": (b"Content-Length: 9\r\n\r\nSorry", b"Sorry", False),
}


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("split", [False, True])
def test_a_refusal_comes_with_its_body(name: str, split: bool) -> None:
    rest, body, complete = REFUSALS[name]
    stream = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n" + rest
    wire = ClientWire("x")
    seen = outcome(wire, bytewise(stream) if split else [stream])
    if not complete:
        assert seen == []
        assert not wire.finished
        seen = take(wire, b"")
    (rejected,) = seen
    assert isinstance(rejected, Rejected)
    assert (rejected.status, rejected.body) == (503, body)
    assert rejected.header("retry-after") == "7"
    assert wire.finished
    assert take(wire, b"more") == take(wire, b"") == []


def test_the_body_of_a_refusal_is_bounded() -> None:
    for stream in (b"\r\n", b"Content-Length: 1000\r\n\r\n"):
        wire = ClientWire("x", max_head=100)
        (rejected,) = take(wire, b"HTTP/1.1 200 OK\r\n" + stream + b"x" * 1000)
        assert isinstance(rejected, Rejected)
        assert rejected.body == b"x" * 100


@pytest.mark.parametrize(
    "raw",
    [
        b"\x15\x03\x01",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 099 x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20000 + b"\r\n\r\n",
    ],
)
def test_a_garbage_answer_is_the_servers_fault(raw: bytes) -> None:
    wire = ClientWire("x")
    error = fault(wire, raw)
    assert error.clause.startswith("RFC 911")
    assert wire.finished


def test_the_examples_of_the_rfc() -> None:
    """RFC 6455, 5.7."""
    client, server = open_client(), open_server()
    assert take(client, bytes.fromhex("810548656c6c6f")) == ["Hello"]
    assert take(server, bytes.fromhex("818537fa213d7f9f4d5158")) == ["Hello"]
    assert take(client, bytes.fromhex("010348656c80026c6f")) == ["Hello"]
    assert take(client, bytes.fromhex("890548656c6c6f")) == [Ping(b"Hello")]
    assert take(server, bytes.fromhex("8a8537fa213d7f9f4d5158")) == [Pong(b"Hello")]
    for size, header in ((256, "827e0100"), (65536, "827f0000000000010000")):
        assert take(client, bytes.fromhex(header) + bytes(size)) == [bytes(size)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 70001])
def test_messages_of_every_length_form_go_both_ways(size: int) -> None:
    client, server = open_client(), open_server()
    for sender, receiver in ((client, server), (server, client)):
        for payload in (bytes(size), "x" * size):
            sender.send(payload)
            assert take(receiver, sender.data_to_send()) == [payload]


def test_server_frames_are_plain() -> None:
    server = open_server()
    server.send("Hello")
    server.send(b"Hello")
    server.ping(b"Hello")
    server.close(1001, "Hello")
    assert server.data_to_send() == (
        frame(TEXT, b"Hello")
        + frame(BINARY, b"Hello")
        + frame(PING, b"Hello")
        + frame(CLOSE, close_payload(1001, b"Hello"))
    )


def test_fragments_are_joined_and_control_frames_come_between() -> None:
    wire = open_server()
    stream = (
        masked(TEXT, "Gr\u00fc".encode()[:3], fin=False)  # cut inside the ü
        + masked(PING, b"now")
        + masked(CONT, b"", fin=False)
        + masked(CONT, "Gr\u00fc\u00df".encode()[3:], fin=False)
        + masked(PONG)
        + masked(CONT)
        + masked(BINARY, b"next")
    )
    assert take(wire, stream) == [Ping(b"now"), Pong(b""), "Grüß", b"next"]
    assert wire.has_data_to_send
    assert wire.data_to_send() == frame(PONG, b"now")
    assert not wire.has_data_to_send


def test_only_str_and_bytes_can_be_sent() -> None:
    wire = open_server()
    for payload in (bytearray(b"x"), memoryview(b"x"), None, 7):
        with pytest.raises(TypeError, match="str or bytes"):
            wire.send(payload)
    with pytest.raises(LocalProtocolError, match="at most 125"):
        wire.ping(bytes(126))
    with pytest.raises(LocalProtocolError, match="this text cannot be sent"):
        wire.send("a\ud800b")
    assert wire.pending == 0
    assert wire.is_open


@pytest.mark.parametrize("fragmented", [False, True])
def test_text_must_be_utf8(fragmented: bool) -> None:
    wire = open_server()
    bad = b"caf\xc3"
    stream = masked(TEXT, bad)
    if fragmented:
        stream = masked(TEXT, bad[:2], fin=False) + masked(CONT, bad[2:])
    error = fault(wire, masked(TEXT, b"good") + stream, "good")
    assert (error.clause, error.close_code) == ("RFC 6455 8.1", 1007)
    wire.close(error.close_code, str(error))
    assert wire.data_to_send()[2:4] == (1007).to_bytes(2, "big")
    assert wire.finished


@pytest.mark.parametrize(
    ("begin", "bad"),
    [
        (masked(TEXT, b"caf", fin=False), masked(CONT, b"\xff", fin=False)),
        (masked(TEXT, b"caf\xc3", fin=False), masked(CONT, b"\x28", fin=False)),
        (masked(TEXT, b"caf\xc3", fin=False) + masked(PING), masked(CONT, b"\x28", fin=False)),
        (masked(TEXT, b"", fin=False), masked(CONT, b"\xf4\x90", fin=False)),
        (masked(TEXT, b"caf\xff", length=100)[:-1], masked(TEXT, b"caf\xff", length=100)[-1:]),
        (masked(TEXT, b"a", fin=False), masked(CONT, b"\xe0\x80", length=2**20)),
    ],
)
def test_a_text_is_judged_as_it_comes(begin: bytes, bad: bytes) -> None:
    """Neither the rest of the frame nor that of the message is waited for."""
    wire = open_server()
    assert [event for event in take(wire, begin) if not isinstance(event, Ping)] == []
    assert wire.is_open
    error = fault(wire, bad)
    assert (error.clause, error.close_code) == ("RFC 6455 8.1", 1007)


def test_a_character_may_be_cut_by_a_frame() -> None:
    wire = open_server()
    pieces = [masked(CONT, bytes([byte]), fin=False) for byte in "ü€😀".encode()]
    stream = masked(TEXT, fin=False) + b"".join(pieces) + masked(CONT) + masked(TEXT, b"\xc3\xbc")
    assert outcome(wire, bytewise(stream)) == ["ü€😀", "ü"]


def test_what_a_message_left_unfinished_does_not_touch_the_next() -> None:
    wire = open_server(lenient_first_text=True)
    first = masked(TEXT, b"caf\xc3", fin=False) + masked(CONT)
    assert take(wire, first + masked(TEXT, b"\x41", fin=False) + masked(CONT)) == ["caf\udcc3", "A"]
    binary = masked(BINARY, b"\xff", fin=False) + masked(CONT, b"\xff", fin=False) + masked(CONT)
    assert take(wire, binary) == [b"\xff\xff"]


def test_encoded_surrogates_are_not_utf8() -> None:
    assert fault(open_server(), masked(TEXT, b"\xed\xa0\x80")).close_code == 1007


def test_a_lenient_wire_takes_any_first_text() -> None:
    wire = open_server(lenient_first_text=True)
    assert take(wire, masked(TEXT, b"caf\xc3")) == ["caf\udcc3"]
    assert fault(wire, masked(TEXT, b"caf\xc3")).close_code == 1007


def test_a_lenient_wire_is_lenient_once() -> None:
    wire = open_server(lenient_first_text=True)
    assert take(wire, masked(BINARY, b"first") + masked(PING)) == [b"first", Ping(b"")]
    assert fault(wire, masked(TEXT, b"caf\xc3")).close_code == 1007


@given(st.binary())
def test_any_bytes_can_be_sent_as_text(raw: bytes) -> None:
    """What surrogateescape decoded goes out as it came, in a text frame."""
    text = raw.decode("utf-8", "surrogateescape")
    client, server = open_client(), open_server(lenient_first_text=True)
    client.ping()
    client.send(text)
    assert take(server, client.data_to_send()) == [Ping(b""), text]
    server.send(text)
    assert server.data_to_send() == frame(PONG) + frame(TEXT, raw)


def test_a_message_may_be_as_long_as_the_limit() -> None:
    for stream in (
        masked(BINARY, bytes(1000)),
        masked(BINARY, bytes(999), fin=False) + masked(PING, bytes(100)) + masked(CONT, b"\0"),
    ):
        assert take(open_server(max_message=1000), stream)[-1] == bytes(1000)


@pytest.mark.parametrize("length", [1001, 2**16, 2**63 - 1])
def test_too_long_a_message_is_refused_at_its_header(length: int) -> None:
    wire = open_server(max_message=1000)
    error = fault(wire, masked(TEXT, b"ok") + masked(BINARY, length=length), "ok")
    assert (error.clause, error.close_code) == ("RFC 6455 7.4.1", 1009)
    wire.close(error.close_code, str(error))
    assert wire.finished


def test_fragments_count_together() -> None:
    wire = open_server(max_message=1000)
    assert take(wire, masked(BINARY, bytes(600), fin=False)) == []
    assert fault(wire, masked(CONT, length=401)).close_code == 1009


def test_a_bad_header_outranks_its_length() -> None:
    for form in (frame(BINARY, length=2000), masked(BINARY, length=2**63)):
        assert fault(open_server(max_message=1000), form).close_code == 1002


def grown_by(work: Callable[[], None]) -> int:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def test_fragments_cost_their_bytes_and_no_more() -> None:
    wire = open_server()
    take(wire, masked(BINARY, fin=False))
    empty, tiny = masked(CONT, fin=False) * 100, masked(CONT, b"x", fin=False) * 100

    def flood(chunk: bytes) -> Callable[[], None]:
        return lambda: [take(wire, chunk) for _ in range(10)].clear()

    flood(empty)()
    assert grown_by(flood(empty)) < 2000
    assert grown_by(flood(tiny)) < 5000  # as objects of their own they were fifty thousand
    assert take(wire, masked(CONT)) == [b"x" * 1000]


def test_behind_a_fault_nothing_of_what_came_is_held() -> None:
    wire = open_server()

    def fail() -> None:
        wire.feed(b"\xff\x80" + bytes(2**20))
        with pytest.raises(RemoteProtocolError):
            list(wire.events())

    assert grown_by(fail) < 2**19
    begun = open_server()

    def fail_inside_a_message() -> None:
        begun.feed(masked(BINARY, bytes(2**20), fin=False))
        begun.feed(masked(BINARY))
        with pytest.raises(RemoteProtocolError):
            list(begun.events())

    assert grown_by(fail_inside_a_message) < 2**19


def test_one_byte_at_a_time_and_thousands_of_frames_at_once() -> None:
    wire = open_server()
    big = masked(BINARY, bytes(100_000))
    assert outcome(wire, bytewise(big)) == [bytes(100_000)]
    assert take(wire, masked(BINARY, b"x") * 5000) == [b"x"] * 5000


BAD_FRAMES = {
    "reserved bit 1": masked(TEXT, b"x", rsv=4),
    "reserved bit 2": masked(BINARY, b"x", rsv=2),
    "reserved bit 3": masked(PING, b"x", rsv=1),
    "data opcode 3": masked(3, b"x"),
    "control opcode 11": masked(11, b"x"),
    "not masked": frame(BINARY, b"x"),
    "fragmented ping": masked(PING, b"x", fin=False),
    "fragmented close": masked(CLOSE, close_payload(1000), fin=False),
    "long ping": masked(PING, bytes(126)),
    "huge ping": masked(PING, length=2**40),
    "16 bits for 125": masked(BINARY, bytes(125), form=16),
    "64 bits for 65535": masked(BINARY, bytes(65535), form=64),
    "64 bits for 1": masked(BINARY, b"x", form=64),
    "top bit of 64": masked(BINARY, length=2**63),
    "continuation of nothing": masked(CONT, b"x"),
    "empty continuation of nothing": masked(CONT, fin=False),
    "message inside a message": masked(TEXT, b"x", fin=False) + masked(BINARY, b"y"),
    "close of 1 byte": masked(CLOSE, b"x"),
    **{
        f"close code {code}": masked(CLOSE, close_payload(code))
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
    },
}


@pytest.mark.parametrize("name", BAD_FRAMES)
@pytest.mark.parametrize("closing", [False, True])
def test_bad_frames_are_the_peers_fault(name: str, closing: bool) -> None:
    wire = open_server()
    if closing:
        wire.close()
    error = fault(wire, masked(TEXT, b"good") + BAD_FRAMES[name], "good")
    assert error.close_code == 1002
    assert error.clause.startswith("RFC 6455 5.")
    assert not wire.is_open
    if not closing:
        assert wire.state is WireState.FAILED
        wire.send("said before this end knew")
        wire.close(error.close_code, str(error))
    assert wire.finished
    with pytest.raises(LocalProtocolError):
        wire.send("x")
    assert wire.data_to_send().count(b"\x88") == 1


@pytest.mark.parametrize(
    "name", [name for name, raw in BAD_FRAMES.items() if not name.startswith("close")]
)
def test_a_bad_header_is_found_before_its_payload(name: str) -> None:
    raw = BAD_FRAMES[name]
    first = outcome(open_server(), [raw])
    for size in range(2, min(len(raw), 40)):
        seen = outcome(open_server(), [raw[:size]])
        if seen:
            assert seen == first
            break
    assert size <= 14 + len(masked(TEXT, b"x"))


def test_a_masked_frame_is_no_servers() -> None:
    assert fault(open_client(), masked(BINARY, b"x")).clause == "RFC 6455 5.1"


def test_a_close_reason_must_be_utf8() -> None:
    error = fault(open_server(), masked(CLOSE, close_payload(1000, b"\xff")))
    assert (error.clause, error.close_code) == ("RFC 6455 5.5", 1007)


def test_the_clause_does_not_depend_on_the_chunking() -> None:
    stream = masked(CLOSE, b"x")
    assert outcome(open_server(), bytewise(stream)) == outcome(open_server(), [stream])


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1013, 1014, 3000, 4999])
def test_the_peers_close_is_answered_with_its_code(code: int) -> None:
    wire = open_server()
    stream = masked(TEXT, b"bye") + masked(CLOSE, close_payload(code, "Tschüß".encode()))
    assert take(wire, stream + b"ignored") == ["bye", Closed(code, "Tschüß", clean=True)]
    assert wire.data_to_send() == frame(CLOSE, close_payload(code))
    assert wire.finished
    assert not wire.is_open
    assert take(wire, b"ignored") == take(wire, b"") == []
    with pytest.raises(LocalProtocolError):
        wire.close()


def test_a_close_without_a_code() -> None:
    wire = open_server()
    assert take(wire, masked(CLOSE)) == [Closed(1005, "", clean=True)]
    assert wire.data_to_send() == frame(CLOSE, close_payload(1000))


def test_after_our_close_messages_still_come_but_nothing_goes() -> None:
    wire = open_server()
    wire.close(1001, "bye")
    assert (wire.state, wire.is_open, wire.finished) == (WireState.CLOSING, False, False)
    wire.data_to_send()
    for verb in (lambda: wire.send("x"), wire.ping, wire.close):
        with pytest.raises(LocalProtocolError, match="closing"):
            verb()
    assert take(wire, masked(TEXT, b"late") + masked(PING, b"p")) == ["late", Ping(b"p")]
    assert take(wire, masked(CLOSE, close_payload(1001))) == [Closed(1001, "", clean=True)]
    assert wire.pending == 0
    assert wire.finished


def asked() -> ServerWire:
    wire = ServerWire()
    wire.feed(request())
    assert len(list(wire.events())) == 1
    return wire


def closing_server() -> ServerWire:
    wire = open_server()
    wire.close()
    return wire


def failed_server() -> ServerWire:
    wire = open_server()
    fault(wire, b"\xff\x80" + bytes(4))
    return wire


def closed_server() -> ServerWire:
    wire = open_server()
    take(wire, masked(CLOSE))
    return wire


def rejected_client() -> ClientWire:
    wire = ClientWire("app.example")
    assert take(wire, b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n") == []
    return wire


@pytest.mark.parametrize(
    ("make", "call", "clause", "says"),
    [
        (
            ServerWire,
            lambda w: w.send(""),
            "6.1",
            "send() needs a wire that is open or failed; this one is handshake",
        ),
        (
            asked,
            lambda w: w.send(b""),
            "6.1",
            "send() needs a wire that is open or failed; this one is answering",
        ),
        (
            closing_server,
            lambda w: w.ping(),
            "5.5.2",
            "ping() needs a wire that is open; this one is closing",
        ),
        (
            failed_server,
            lambda w: w.ping(),
            "5.5.2",
            "ping() needs a wire that is open; this one is failed",
        ),
        (
            rejected_client,
            lambda w: w.ping(),
            "5.5.2",
            "ping() needs a wire that is open; this one is rejected",
        ),
        (
            closing_server,
            lambda w: w.close(),
            "5.5.1",
            "close() needs a wire that is open or failed; this one is closing",
        ),
        (
            closed_server,
            lambda w: w.close(),
            "5.5.1",
            "close() needs a wire that is open or failed; this one is closed",
        ),
        (
            open_server,
            lambda w: w.accept(),
            "4.2.2",
            "accept() needs a wire that is answering; this one is open",
        ),
        (
            open_server,
            lambda w: w.reject(400),
            "4.2.2",
            "reject() needs a wire that is answering; this one is open",
        ),
    ],
)
def test_out_of_turn_the_wire_says_where_it_stands(
    make: Callable[[], Any], call: Callable[[Any], object], clause: str, says: str
) -> None:
    wire = make()
    before = wire.state, wire.pending
    with pytest.raises(LocalProtocolError) as caught:
        call(wire)
    assert caught.value.clause == f"RFC 6455 {clause}"
    assert str(caught.value) == f"{says} [RFC 6455 {clause}]"
    assert (wire.state, wire.pending) == before


def test_a_fault_says_what_is_wrong() -> None:
    for data, says in (
        (masked(CONT, b"a"), "a message without its first frame"),
        (masked(TEXT, b"a", fin=False) + masked(TEXT, b"b"), "a message inside another one"),
        (masked(BINARY, bytes(11)), "a message of more than 10 bytes"),
        (
            masked(TEXT, b"caf\xff"),
            "a text that is not UTF-8: 'utf-8' codec can't decode byte 0xff",
        ),
    ):
        error = fault(open_server(max_message=10), data)
        assert str(error).startswith(says)
    assert "reserved" in str(fault(open_server(), masked(TEXT, b"a", rsv=4))).lower()


def test_a_continuation_is_masked_like_any_other_frame() -> None:
    wire = open_server()
    assert take(wire, masked(TEXT, b"a", fin=False)) == []
    assert fault(wire, frame(CONT, b"b")).clause == "RFC 6455 5.1"


def test_a_control_frame_needs_no_room_beside_a_message() -> None:
    for control, event in (
        (masked(CLOSE, close_payload(1001, b"bye")), Closed(1001, "bye", clean=True)),
        (masked(PING, b"12345"), Ping(b"12345")),
    ):
        wire = open_server(max_message=4)
        assert take(wire, masked(BINARY, b"four", fin=False)) == []
        assert take(wire, control) == [event]


def test_a_head_is_refused_at_the_first_byte_that_cannot_begin_one() -> None:
    for first in (b" ", b"\0", b"\x16"):
        said = str(fault(ServerWire(), first))
        assert f"it starts with byte {first[0]:#04x}" in said
        assert ("(a TLS client? this end has no TLS)" in said) is (first == b"\x16")
    wire = ServerWire()
    assert take(wire, b"!") == []
    assert wire.pending == 0
    for first in (b"S", b"HTTp", b"HTTP 1"):
        assert "it does not start with HTTP/" in str(fault(ClientWire("app.example"), first))
    assert take(ClientWire("app.example"), b"HTTP/") == []


def test_a_head_may_be_as_long_as_the_limit() -> None:
    raw = request()
    wire = ServerWire(max_head=len(raw))
    assert take(wire, raw[:-1]) == []
    assert len(take(wire, raw[-1:])) == 1
    endless = ServerWire(max_head=len(raw))
    assert take(endless, raw[:-2] + b"X:") == []
    assert "exceeds" in str(fault(endless, b" "))


@pytest.mark.parametrize(("options", "limit"), [({}, 16384), ({"max_head": 20_000}, 20_000)])
def test_a_head_of_16_kib_is_taken_unless_told_otherwise(
    options: dict[str, int], limit: int
) -> None:
    filler = limit - len(request(X_Filler=""))
    assert len(take(ServerWire(**options), request(X_Filler="x" * filler))) == 1
    assert "exceeds" in str(fault(ServerWire(**options), request(X_Filler="x" * (filler + 1))))


def test_a_client_asks_for_the_root_unless_told_otherwise() -> None:
    assert ClientWire("app.example").data_to_send().startswith(b"GET / HTTP/1.1\r\n")


def test_a_client_may_be_lenient_too() -> None:
    text = frame(TEXT, b"caf\xc3")
    assert take(open_client(lenient_first_text=True), text) == ["caf\udcc3"]
    assert fault(open_client(), text).close_code == 1007


def test_a_subprotocol_that_nobody_asked_for_says_so() -> None:
    wire = ClientWire("app.example")
    error = fault(wire, answer(wire, Sec_WebSocket_Protocol="x"))
    assert str(error).startswith("the server chose subprotocol 'x'; this end offered none")


def test_of_a_long_subprotocol_the_front_is_quoted() -> None:
    wire = ClientWire("app.example")
    error = fault(wire, answer(wire, Sec_WebSocket_Protocol="x" * 1000))
    assert str(error).startswith(f"the server chose subprotocol '{'x' * 59}; this end offered none")


def test_a_refusal_needs_no_body_and_takes_any() -> None:
    for options, body in (({}, b""), ({"body": "\ud800!"}, b"?!")):
        wire = asked()
        wire.reject(404, **options)  # type: ignore[arg-type]
        raw_head, _, raw_body = wire.data_to_send().partition(b"\r\n\r\n")
        assert raw_body == body
        assert f"Content-Length: {len(body)}".encode().lower() in raw_head.lower()


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1013, 1014, 3000, 4999])
def test_codes_that_may_be_sent(code: int) -> None:
    server, client = open_server(), open_client()
    server.close(code, "so it goes")
    assert take(client, server.data_to_send()) == [Closed(code, "so it goes", clean=True)]


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 70000])
def test_codes_that_must_not_be_sent(code: int) -> None:
    wire = open_server()
    with pytest.raises(LocalProtocolError, match="must not be sent"):
        wire.close(code)
    assert wire.is_open


def test_a_close_says_1000_unless_told_otherwise() -> None:
    wire = open_server()
    wire.close()
    assert wire.data_to_send() == frame(CLOSE, close_payload(1000))


def test_a_ping_carries_up_to_125_bytes() -> None:
    wire = open_server()
    wire.ping(bytes(125))
    assert wire.data_to_send() == frame(PING, bytes(125))


@given(st.text(st.characters(), max_size=200))
@example("ü" * 62)
@example("\ud800")
def test_any_reason_fits(reason: str) -> None:
    wire = open_server()
    wire.close(1000, reason)
    sent = wire.data_to_send()
    assert sent[1] <= 125
    assert reason.encode(errors="replace").startswith(sent[4:])
    assert sent[1] >= 122 or sent[4:] == reason.encode(errors="replace")
    (closed,) = take(open_client(), sent)
    assert isinstance(closed, Closed)
    assert closed.clean


def test_the_transport_may_just_end() -> None:
    for wire in (open_server(), open_client()):
        assert take(wire, b"") == [Closed(1006, "", clean=False)]
        assert take(wire, b"") == take(wire, b"x") == []
        assert wire.finished
        with pytest.raises(LocalProtocolError):
            wire.close()


def test_what_is_fed_behind_the_end_does_not_undo_it() -> None:
    wire = open_server()
    wire.feed(b"")
    wire.feed(masked(TEXT, b"a")[:3])
    assert list(wire.events()) == [Closed(1006, "", clean=False)]


def test_the_transport_may_end_after_our_close() -> None:
    wire = open_server()
    wire.close()
    assert take(wire, b"") == [Closed(1006, "", clean=False)]


def test_the_transport_may_end_before_the_answer() -> None:
    wire = ServerWire()
    wire.feed(request())
    wire.feed(b"")
    _, closed = wire.events()
    assert closed == Closed(1006, "", clean=False)
    with pytest.raises(LocalProtocolError):
        wire.accept()


def test_a_half_closed_transport_can_still_be_answered() -> None:
    wire = ServerWire()
    wire.feed(request(Upgrade=None))
    wire.feed(b"")
    assert len(outcome(wire, [b""])) == 1
    assert wire.data_to_send().startswith(b"HTTP/1.1 400 ")


MESSAGES = [
    masked(TEXT, b'{"callSid": "x"}'),
    masked(BINARY, bytes(range(200))),
    masked(TEXT, b"Gr", fin=False),
    masked(CONT, "üße".encode()),
    masked(PING, b"p"),
    masked(BINARY, b"a", fin=False),
    masked(CONT, fin=False),
    masked(PONG),
    masked(CONT, b"b"),
    masked(BINARY),
    masked(CLOSE, close_payload(1000, b"done")),
]
CALL = request() + b"".join(MESSAGES)
EVENTS = [
    *outcome(ServerWire(), [request()]),
    '{"callSid": "x"}',
    bytes(range(200)),
    "Grüße",
    Ping(b"p"),
    Pong(b""),
    b"ab",
    b"",
    Closed(1000, "done", clean=True),
]


def served(wire: ClientWire, frames: bytes) -> bytes:
    return b"HTTP/1.1 100 Continue\r\n\r\n" + answer(wire) + frames


@given(PLACES)
def test_any_chunking_gives_a_server_the_same_events(places: list[int]) -> None:
    assert outcome(ServerWire(), cut(CALL, places)) == EVENTS


def test_a_byte_at_a_time() -> None:
    assert outcome(ServerWire(), bytewise(CALL)) == EVENTS


@given(PLACES)
def test_any_chunking_gives_a_client_the_same_events(places: list[int]) -> None:
    frames = b"".join(
        frame(TEXT, b"a", fin=False) + frame(PING) + frame(CONT, b"b") + frame(BINARY, bytes(300))
        for _ in range(3)
    )
    wire = ClientWire("x")
    accepted, *rest = outcome(wire, cut(served(wire, frames + frame(CLOSE)), places))
    assert isinstance(accepted, Accepted)
    assert rest == [Ping(b""), "ab", bytes(300)] * 3 + [Closed(1005, "", clean=True)]


def test_a_call_cut_off_anywhere() -> None:
    for size in range(len(CALL)):
        wire = ServerWire()
        *seen, last = outcome(wire, [*cut(CALL[:size], ()), b""])
        assert seen == EVENTS[: len(seen)]
        assert last == Closed(1006, "", clean=False)
        assert wire.finished


def test_an_answer_cut_off_anywhere() -> None:
    size = len(served(ClientWire("x"), frame(TEXT, b"hello")))
    for end in range(size):
        wire = ClientWire("x")
        stream = served(wire, frame(TEXT, b"hello"))
        *_, last = outcome(wire, [*cut(stream[:end], ()), b""])
        assert last == Closed(1006, "", clean=False)
        assert wire.finished


def flipped(stream: bytes, bits: Sequence[int]) -> bytes:
    changed = bytearray(stream)
    for bit in bits:
        changed[bit // 8 % len(changed)] ^= 1 << bit % 8
    return bytes(changed)


STREAMS = (
    st.binary(max_size=200)
    | st.binary(max_size=200).map(lambda tail: request() + tail)
    | st.lists(frames(masks=[b"mask"] * 5 + [b""]), max_size=6).map(
        lambda parts: request() + b"".join(parts)
    )
    | st.lists(st.integers(0, 8 * len(CALL)), min_size=1, max_size=4).map(
        lambda bits: flipped(CALL, bits)
    )
)


@given(STREAMS, PLACES, st.booleans(), st.booleans())
def test_no_bytes_surprise_a_server(
    stream: bytes, places: list[int], eof: bool, lenient: bool
) -> None:
    """Whatever comes, however cut: events or a RemoteProtocolError, and always the same."""

    def run(chunks: list[bytes]) -> tuple[Outcome, WireState, bytes]:
        wire = ServerWire(max_head=300, max_message=150, lenient_first_text=lenient)
        seen = outcome(wire, chunks + [b""] * eof)
        announced, data = wire.has_data_to_send, wire.data_to_send()
        assert announced is bool(data)
        return seen, wire.state, data

    assert run(cut(stream, places)) == run(cut(stream, ())) == run(bytewise(stream))


ANSWERS = st.one_of(
    st.binary(max_size=100),
    st.builds(
        b"".join,
        st.lists(
            st.sampled_from(
                [
                    b"HTTP/1.1 503 x\r\n",
                    b"HTTP/1.1 100 \r\n",
                    b"Transfer-Encoding: chunked\r\n",
                    b"Content-Length: 9\r\n",
                    b"\r\n",
                    b"3\r\nabc\r\n",
                    b"0\r\n\r\n",
                    b"9;" + b"x" * 90 + b"\r\n",
                ]
            ),
            max_size=8,
        ),
    ),
)


@given(ANSWERS, PLACES, st.booleans())
def test_no_answer_surprises_a_client(raw: bytes, places: list[int], eof: bool) -> None:
    def run(chunks: list[bytes]) -> tuple[Outcome, WireState]:
        wire = ClientWire("x", max_head=100)
        return outcome(wire, chunks + [b""] * eof), wire.state

    assert run(cut(raw, places)) == run(cut(raw, ())) == run(bytewise(raw))


@given(st.lists(frames(masks=[b""] * 5 + [b"mask"]), max_size=6), PLACES)
def test_no_frames_surprise_a_client(parts: list[bytes], places: list[int]) -> None:
    def run(chunking: Callable[[bytes], list[bytes]]) -> Outcome:
        wire = ClientWire("x", max_message=150)
        accepted, *seen = outcome(wire, chunking(served(wire, b"".join(parts))))
        assert isinstance(accepted, Accepted)
        return seen

    assert run(lambda stream: cut(stream, places)) == run(lambda stream: [stream]) == run(bytewise)


@given(st.lists(st.integers(0, 2**12), min_size=1, max_size=4))
def test_no_damaged_answer_surprises_a_client(bits: list[int]) -> None:
    wire = ClientWire("x", subprotocols=["a"])
    good = b"HTTP/1.1 100 Continue\r\n\r\n" + answer(wire, Sec_WebSocket_Protocol="a")
    outcome(wire, [flipped(good, bits), b""])


PAYLOADS = st.text(st.characters(exclude_categories=["Cs"])) | st.binary()


def carry(sender: Wire, receiver: Wire, places: Iterable[int] = ()) -> list[WireEvent]:
    events: list[WireEvent] = []
    for chunk in cut(sender.data_to_send(), places):
        events += take(receiver, chunk)
    return events


@given(
    st.lists(st.tuples(st.booleans(), PAYLOADS | st.just(None)), max_size=10),
    st.sampled_from([1000, 1001, 4000]),
    st.booleans(),
    PLACES,
)
def test_a_conversation(
    turns: list[tuple[bool, str | bytes | None]], code: int, client_closes: bool, places: list[int]
) -> None:
    """What one end sends the other receives, in order; None stands for a ping."""
    client, server = ClientWire("x", subprotocols=["a", "b"]), ServerWire()
    (asked,) = carry(client, server, places)
    assert isinstance(asked, Request)
    server.accept("b")
    (accepted,) = carry(server, client, places)
    assert isinstance(accepted, Accepted)
    assert accepted.subprotocol == "b"
    for from_client, payload in turns:
        sender, receiver = (client, server) if from_client else (server, client)
        if payload is None:
            sender.ping(b"?")
            assert carry(sender, receiver, places) == [Ping(b"?")]
            assert carry(receiver, sender, places) == [Pong(b"?")]
        else:
            sender.send(payload)
            assert carry(sender, receiver, places) == [payload]
    sender, receiver = (client, server) if client_closes else (server, client)
    sender.close(code, "done")
    assert carry(sender, receiver, places) == [Closed(code, "done", clean=True)]
    assert carry(receiver, sender, places) == [Closed(code, "", clean=True)]
    assert client.finished
    assert server.finished
    assert client.pending == server.pending == 0


@given(PLACES)
def test_closes_that_cross(places: list[int]) -> None:
    client, server = open_client(), open_server()
    client.close(1000)
    server.send("late")
    server.close(1001)
    assert carry(client, server, places) == [Closed(1000, "", clean=True)]
    assert carry(server, client, places) == ["late", Closed(1001, "", clean=True)]
    assert client.finished
    assert server.finished
    assert client.pending == server.pending == 0


def test_wsproto_as_client() -> None:
    peer, wire = WSConnection(ConnectionType.CLIENT), ServerWire()
    take(wire, peer.send(ws.Request(host="x", target="/call", subprotocols=["a"])))
    wire.accept("a", [("X-Call", "7")])
    wire.send("Grüße")
    wire.send(bytes(70_000))
    wire.ping(b"p")
    peer.receive_data(wire.data_to_send())
    accepted, text, *parts, ping = peer.events()
    assert isinstance(accepted, ws.AcceptConnection)
    assert accepted.subprotocol == "a"
    assert isinstance(text, ws.TextMessage)
    assert text.data == "Grüße"
    assert not first_difference(b"".join(part.data for part in parts), bytes(70_000))
    assert isinstance(ping, ws.Ping)
    stream = peer.send(ping.response()) + peer.send(ws.TextMessage("ä", message_finished=False))
    stream += peer.send(ws.TextMessage("ö")) + peer.send(ws.CloseConnection(1001, "bye"))
    assert take(wire, stream) == [Pong(b"p"), "äö", Closed(1001, "bye", clean=True)]
    peer.receive_data(wire.data_to_send())
    assert [type(event) for event in peer.events()] == [ws.CloseConnection]


def test_wsproto_as_server() -> None:
    peer, wire = WSConnection(ConnectionType.SERVER), ClientWire("x", subprotocols=["a"])
    peer.receive_data(wire.data_to_send())
    (asked,) = peer.events()
    assert isinstance(asked, ws.Request)
    assert asked.subprotocols == ["a"]
    (accepted,) = take(wire, peer.send(ws.AcceptConnection(subprotocol="a")))
    assert isinstance(accepted, Accepted)
    assert accepted.subprotocol == "a"
    wire.send("Grüße")
    wire.send(b"\0\1")
    wire.close(1000, "bye")
    peer.receive_data(wire.data_to_send())
    text, data, closed = peer.events()
    assert (text.data, data.data) == ("Grüße", b"\0\1")
    assert (closed.code, closed.reason) == (1000, "bye")
    assert take(wire, peer.send(closed.response())) == [Closed(1000, "bye", clean=True)]


def test_wsproto_rejects() -> None:
    peer, wire = WSConnection(ConnectionType.SERVER), ClientWire("x")
    peer.receive_data(wire.data_to_send())
    list(peer.events())
    reject = ws.RejectConnection(status_code=403, headers=[], has_body=True)
    (rejected,) = take(wire, peer.send(reject) + peer.send(ws.RejectData(b"no")))
    assert isinstance(rejected, Rejected)
    assert (rejected.status, rejected.body) == (403, b"no")


def test_websockets_as_client() -> None:
    peer = ClientProtocol(parse_uri("ws://app.example/call"), subprotocols=["a"])
    wire = ServerWire()
    peer.send_request(peer.connect())
    (asked,) = take(wire, b"".join(peer.data_to_send()))
    assert isinstance(asked, Request)
    assert asked.path == "/call"
    wire.accept("a")
    wire.send("Grüße")
    wire.send(bytes(70_000))
    peer.receive_data(wire.data_to_send())
    assert peer.handshake_exc is None
    assert peer.subprotocol == "a"
    _, text, data = peer.events_received()
    assert isinstance(text, Frame)
    assert text.data == "Grüße".encode()
    assert text.opcode == TEXT
    assert isinstance(data, Frame)
    assert not first_difference(data.data, bytes(70_000))
    assert data.opcode == BINARY
    peer.send_text(b"a", fin=False)
    peer.send_ping(b"p")
    peer.send_continuation(b"b", fin=True)
    peer.send_close(1000, "bye")
    events = take(wire, b"".join(peer.data_to_send()))
    assert events == [Ping(b"p"), "ab", Closed(1000, "bye", clean=True)]
    peer.receive_data(wire.data_to_send())
    assert peer.close_rcvd is not None
    assert peer.close_rcvd.code == 1000


def test_websockets_as_server() -> None:
    peer, wire = ServerProtocol(subprotocols=["a"]), ClientWire("x", subprotocols=["a"])
    peer.receive_data(wire.data_to_send())
    (asked,) = peer.events_received()
    peer.send_response(peer.accept(asked))
    peer.send_text("Grüße".encode())
    accepted, text = take(wire, b"".join(peer.data_to_send()))
    assert isinstance(accepted, Accepted)
    assert accepted.subprotocol == "a"
    assert text == "Grüße"
    wire.send("ja")
    wire.close(1001, "bye")
    peer.receive_data(wire.data_to_send())
    said, _ = peer.events_received()
    assert isinstance(said, Frame)
    assert said.data == b"ja"
    assert said.opcode == TEXT
    assert peer.close_rcvd is not None
    assert peer.close_rcvd.code == 1001
    (closed,) = take(wire, b"".join(peer.data_to_send()))
    assert isinstance(closed, Closed)
    assert closed.clean
    assert closed.code == 1001


def test_websockets_rejects_and_is_rejected() -> None:
    server, client = ServerProtocol(), ClientWire("x")
    server.receive_data(client.data_to_send())
    server.send_response(server.reject(404, "nothing here"))
    (rejected,) = take(client, b"".join(server.data_to_send()))
    assert isinstance(rejected, Rejected)
    assert (rejected.status, rejected.body) == (404, b"nothing here")

    peer, wire = ClientProtocol(parse_uri("ws://app.example/")), ServerWire()
    peer.send_request(peer.connect())
    take(wire, b"".join(peer.data_to_send()))
    wire.reject(503, body="busy")
    peer.receive_data(wire.data_to_send())
    peer.receive_eof()
    assert "503" in str(peer.handshake_exc)


@pytest.mark.parametrize("split", [False, True])
def test_each_ping_is_answered_in_order(split: bool) -> None:
    server = open_server()
    pings = b"".join(masked(PING, b"%d" % n) for n in range(64))
    assert len(outcome(server, bytewise(pings) if split else [pings])) == 64
    assert server.data_to_send() == b"".join(frame(PONG, b"%d" % n) for n in range(64))
    assert not server.has_data_to_send


def test_of_more_pings_than_are_answered_at_once_the_newest_are() -> None:
    """RFC 6455, 5.5.3: a peer that asks and never reads costs no more than that."""
    server = open_server()
    pings = b"".join(masked(PING, b"%d" % n) for n in range(1000))
    assert len(take(server, pings)) == 1000
    assert server.pending == 0
    assert server.data_to_send() == b"".join(frame(PONG, b"%d" % n) for n in range(936, 1000))
    assert server.data_to_send() == b""
