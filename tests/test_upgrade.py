"""The HTTP heads of an upgrade, to the letter: RFC 9110, 9112 and 6455, byte by byte."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from listenproto._errors import LocalProtocolError, RemoteProtocolError
from listenproto._handshake import HandshakePolicy, Reject, judge_request
from listenproto._upgrade import Accepted, Request
from listenproto._wire import ClientWire, ServerWire, WireEvent
from tests.wire_support import (
    TEXT,
    UPGRADE,
    answer,
    bytewise,
    head,
    masked,
    request,
    take,
)

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


def asked(raw: bytes) -> Request:
    """The request that a server reads, whole and byte by byte."""
    (event,) = take(ServerWire(), raw)
    wire = ServerWire()
    assert [event for byte in bytewise(raw) for event in take(wire, byte)] == [event]
    assert isinstance(event, Request)
    return event


def refused(wire: ServerWire | ClientWire, raw: bytes) -> RemoteProtocolError:
    wire.feed(raw)
    with pytest.raises(RemoteProtocolError) as caught:
        list(wire.events())
    assert wire.finished
    return caught.value


def status(raw: bytes, **policy: str) -> int:
    """What an app answers."""
    wire = ServerWire()
    (event,) = take(wire, raw)
    assert isinstance(event, Request)
    verdict = judge_request(event, HandshakePolicy(**policy))  # type: ignore[arg-type]
    return verdict.status if isinstance(verdict, Reject) else 101


# What is in front of frames.


@pytest.mark.parametrize(
    "content",
    [
        {"Content-Length": "5"},
        {"Content-Length": "05"},
        {"Content-Length": "10"},
        {"Transfer-Encoding": "chunked"},
    ],
)
def test_a_request_with_content_is_not_upgraded(content: dict[str, str]) -> None:
    raw = request(**content) + masked(TEXT, b"hello")
    event = asked(raw)
    assert event.upgrade_fault == "it has content, which a GET for an upgrade must not have"
    assert status(raw) == 400
    wire = ServerWire()
    take(wire, raw)
    with pytest.raises(LocalProtocolError, match="it has content"):
        wire.accept()
    wire.reject(400, body="No.")
    assert take(wire, masked(TEXT, b"more")) == []


@pytest.mark.parametrize("size", ["0", "00", "0, 0"])
def test_an_empty_content_is_none(size: str) -> None:
    assert asked(request(Content_Length=size)).upgrade_fault is None


def test_a_client_that_expects_100_is_answered_101() -> None:
    """RFC 9110, 10.1.1: nothing follows the head that it could be waiting to send."""
    wire = ServerWire()
    (event,) = take(wire, request(Expect="100-continue") + masked(TEXT, b"early"))
    assert isinstance(event, Request)
    assert event.upgrade_fault is None
    wire.accept()
    assert wire.data_to_send().startswith(b"HTTP/1.1 101 ")
    assert list(wire.events()) == ["early"]


def test_a_client_that_expects_100_for_content_is_refused_without_it() -> None:
    wire = ServerWire()
    (event,) = take(wire, request(Expect="100-continue", Content_Length="5"))
    assert isinstance(event, Request)
    wire.reject(400)
    assert wire.data_to_send().startswith(b"HTTP/1.1 400 ")


# What is in front of a request.


@pytest.mark.parametrize("blank", [b"\r\n", b"\n", b"\r\n\r\n", b"\n\r\n\n"])
def test_empty_lines_before_a_request_are_ignored(blank: bytes) -> None:
    """RFC 9112, 2.2."""
    assert asked(blank + request()) == asked(request())


def test_empty_lines_alone_are_no_request_and_are_not_kept() -> None:
    wire = ServerWire(max_head=500)
    assert take(wire, b"\r\n" * 10_000 + b"\r") == []
    (event,) = take(wire, b"\n" + request())
    assert isinstance(event, Request)


@pytest.mark.parametrize("raw", [b"\r" + request(), b"\r\n\r" + request(), b"\r\r\n", b" \r\n"])
def test_half_an_empty_line_is_garbage(raw: bytes) -> None:
    wire = ServerWire()
    assert "it starts with byte" in str(refused(wire, raw))
    assert wire.data_to_send().startswith(b"HTTP/1.1 400 ")


def test_a_response_has_no_empty_lines_before_it() -> None:
    for raw in (b"\r", b"\r\n"):
        assert "not a valid HTTP response" in str(refused(ClientWire("x"), raw))


# Versions.


@pytest.mark.parametrize("version", ["0.9", "2.0", "3.0", "9.9"])
def test_a_request_of_another_major_version_is_answered_505(version: str) -> None:
    wire = ServerWire()
    error = refused(wire, request(f"GET / HTTP/{version}"))
    assert f"its HTTP version is {version}, not 1.1" in str(error)
    assert error.clause == "RFC 9110 15.5"
    assert wire.data_to_send().startswith(b"HTTP/1.1 505 ")


def test_a_later_minor_version_is_read_as_1_1() -> None:
    """RFC 9110, 2.5."""
    assert asked(request("GET / HTTP/1.2")).upgrade_fault is None
    assert asked(request("GET / HTTP/1.0")).upgrade_fault is not None


@pytest.mark.parametrize("version", ["0.9", "2.0", "2"])
@pytest.mark.parametrize("code", ["101 Switching Protocols", "404 Not Found"])
def test_a_response_of_another_major_version_fails_the_client(version: str, code: str) -> None:
    wire = ClientWire("x")
    raw = answer(wire).replace(
        b"HTTP/1.1 101 Switching Protocols", f"HTTP/{version} {code}".encode()
    )
    assert "it does not start with HTTP/1." in str(refused(wire, raw))


def test_a_101_of_http_1_0_fails_the_client() -> None:
    wire = ClientWire("x")
    error = refused(wire, answer(wire).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert str(error) == "the 101 response is HTTP/1.0, not HTTP/1.1 [RFC 6455 4.1]"
    wire = ClientWire("x")
    (event,) = take(wire, answer(wire).replace(b"HTTP/1.1", b"HTTP/1.2"))
    assert isinstance(event, Accepted)


# What a 101 switches to.


@pytest.mark.parametrize(
    "upgrade",
    ["websocket, foo", "foo, websocket", "websocket, websocket", "websocket,", "websocket/13"],
)
def test_a_101_switches_to_websocket_and_nothing_else(upgrade: str) -> None:
    """RFC 6455, 4.1, 2."""
    wire = ClientWire("x")
    error = refused(wire, answer(wire, Upgrade=upgrade))
    assert "must switch to WebSocket and to nothing else" in str(error)
    assert error.clause == "RFC 6455 4.1"


@pytest.mark.parametrize(
    "changes", [{"Upgrade": "WebSocket"}, {"Connection": "keep-alive, UPGRADE"}]
)
def test_a_101_may_be_spelled_in_many_ways(changes: dict[str, str]) -> None:
    wire = ClientWire("x")
    (event,) = take(wire, answer(wire, **changes))
    assert isinstance(event, Accepted)
    assert event.is_upgrade


@pytest.mark.parametrize("chosen", ["permessage-deflate", "x; y=1", ""])
def test_a_101_chooses_no_extension(chosen: str) -> None:
    wire = ClientWire("x")
    error = refused(wire, answer(wire, Sec_WebSocket_Extensions=chosen))
    assert "none was offered" in str(error)


# Host.


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":",
        "app.example",
        "app.example:3000",
        "app.example:",
        "127.0.0.1:3000",
        "[::1]",
        "[2001:db8::192.0.2.1]:3000",
        "[v1.a:b]",
        "under_score.example",
        "a%20b",
        "*.example",
        "%41!$&'()*+,;=~",
    ],
)
def test_a_host_may_be(host: str) -> None:
    assert asked(request(Host=host)).header("host") == host


@pytest.mark.parametrize(
    "host",
    [
        "app example",
        "app.example:port",
        "app.example:1:2",
        "app.example/",
        "user@app.example",
        "http://app.example",
        "::1",
        "[::1",
        "[::1]x",
        "[g::1]",
        "[v1]",
        "a%2",
        "a%zz",
        "ä.example",
        "a,b c",
        "a?b",
        "a#b",
        '"a"',
    ],
)
def test_an_invalid_host_is_answered_400(host: str) -> None:
    """RFC 9112, 3.2."""
    for first in ("GET / HTTP/1.1", "GET / HTTP/1.0"):
        wire = ServerWire()
        error = refused(wire, request(first, Host=host))
        assert "its Host is not a host name or address" in str(error)
        assert wire.data_to_send().startswith(b"HTTP/1.1 400 ")


def test_only_http_1_0_can_do_without_a_host() -> None:
    assert asked(request("GET / HTTP/1.0", Host=None)).header("host") is None
    for first in ("GET / HTTP/1.1", "GET / HTTP/1.2"):
        wire = ServerWire()
        refused(wire, request(first, Host=None))
        assert wire.data_to_send().startswith(b"HTTP/1.1 400 ")


# Lists.


@pytest.mark.parametrize(
    "offered",
    ["a b", "a, b c", "a;b", "a/b", '"a"', "a, (b)", "a=b", "ä", "a\xa0", "", " ", ",", " , ,"],
)
def test_what_is_no_list_of_subprotocols_is_refused(offered: str) -> None:
    """RFC 6455, 4.1, 10."""
    raw = request(Sec_WebSocket_Protocol=offered)
    said = "its Sec-WebSocket-Protocol is not a list of names separated by commas"
    assert asked(raw).upgrade_fault == said
    assert status(raw) == 400


@pytest.mark.parametrize("offered", ["a, a", "a,b,a", "audio.jambonz.org,audio.jambonz.org"])
def test_a_subprotocol_is_offered_once(offered: str) -> None:
    raw = request(Sec_WebSocket_Protocol=offered)
    assert asked(raw).upgrade_fault == "its Sec-WebSocket-Protocol has a name twice"
    assert status(raw) == 400


def test_a_subprotocol_is_offered_once_in_all_headers() -> None:
    twice = head("GET / HTTP/1.1", [*UPGRADE.items(), ("Sec-WebSocket-Protocol", "other")])
    assert asked(twice).upgrade_fault == "its Sec-WebSocket-Protocol has a name twice"


@pytest.mark.parametrize("offered", ["a", "a,b", "a , b", "a,, ,b,", "A, a", "!#$%&'*+-.^_`|~"])
def test_a_list_of_subprotocols_may_be(offered: str) -> None:
    assert asked(request(Sec_WebSocket_Protocol=offered)).upgrade_fault is None


@pytest.mark.parametrize(
    "offered",
    [
        ";",
        ";;;",
        "a;",
        "a;;b",
        "a;=b",
        "a;b=",
        'a;b=""',
        'a;b="c d"',
        'a;b="c',
        'a;b="c,d"',
        "a b",
        "a=b",
        "a, ;b",
        "a;b;c d",
        "ä",
        "",
        ",",
    ],
)
def test_what_is_no_list_of_extensions_is_refused(offered: str) -> None:
    """RFC 6455, 9.1."""
    raw = request(Sec_WebSocket_Extensions=offered)
    said = "its Sec-WebSocket-Extensions is not a list of extensions"
    assert asked(raw).upgrade_fault == said
    assert status(raw) == 400


@pytest.mark.parametrize(
    "offered",
    [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=10; x, permessage-deflate",
        'a;b="c"',
        'a;b="\\c\\d"',
        "a ;\tb = c ,, d",
    ],
)
def test_a_list_of_extensions_may_be(offered: str) -> None:
    event = asked(request(Sec_WebSocket_Extensions=offered))
    assert event.upgrade_fault is None
    wire = ServerWire()
    take(wire, request(Sec_WebSocket_Extensions=offered))
    wire.accept()
    assert b"extensions" not in wire.data_to_send().lower()


@pytest.mark.parametrize("names", [["a b"], ["a", ""], ["a,b"], ["ä"], ["a\n"], ["a", "b", "a"]])
def test_a_client_offers_only_what_may_be_offered(names: list[str]) -> None:
    with pytest.raises(LocalProtocolError, match="subprotocol") as caught:
        ClientWire("x", subprotocols=names)
    assert caught.value.clause == "RFC 6455 4.1"


# Date.


def dates() -> Iterator[str]:
    return (f"Sun, 06 Nov 1994 08:49:{second:02} GMT" for second in count(37))


def date_of(raw: bytes) -> list[bytes]:
    lines = raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return [line[6:] for line in lines if line.startswith(b"Date: ")]


def test_each_answer_has_the_date_of_its_moment() -> None:
    """RFC 9110, 6.6.1."""
    clock = dates()

    def answered(raw: bytes, then: str) -> list[bytes]:
        wire = ServerWire(date=lambda: next(clock))
        events: list[WireEvent] = []
        if then == "fail":
            refused(wire, raw)
        else:
            events = take(wire, raw)
        if then == "accept":
            wire.accept()
        elif then == "reject":
            wire.reject(401)
        assert len(events) == (then != "fail")
        return date_of(wire.data_to_send())

    assert answered(request(), "accept") == [DATE.encode()]
    assert answered(request(), "reject") == [DATE.replace("37", "38").encode()]
    assert answered(b"\x16", "fail") == [DATE.replace("37", "39").encode()]
    assert next(clock) == DATE.replace("37", "40")


def test_who_gives_no_date_sends_none() -> None:
    wire = ServerWire()
    take(wire, request())
    wire.accept()
    assert date_of(wire.data_to_send()) == []


# Health.


def test_a_balancer_may_ask_for_the_head_alone() -> None:
    raw = b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n"
    assert status(raw, health_path="/health") == 200
    assert status(raw) == 426
    assert status(raw.replace(b"/health", b"/call"), health_path="/health") == 426
    wire = ServerWire()
    take(wire, raw)
    wire.reject(200, body="OK\n")
    sent = wire.data_to_send()
    assert sent.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nContent-Length: 3\r\n" in sent
    assert sent.endswith(b"\r\n\r\n")
