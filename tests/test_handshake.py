"""The handshake: who is let in, and which of several reasons an app answers with."""

from __future__ import annotations

import base64
import re
from hmac import compare_digest
from itertools import combinations, product
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.utilities import generate_accept_token

from listenproto._handshake import (
    SUBPROTOCOL,
    SUBPROTOCOLS,
    Accept,
    HandshakePolicy,
    Reject,
    Request,
    basic_credentials,
    judge_request,
    judge_upgrade,
)
from listenproto._messages import Peer
from listenproto._upgrade import Accepted, Rejected
from listenproto._verb import ListenVerb, WsAuth
from listenproto._violation import Violation

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, 1.3
HEADERS = {
    "host": "app.example",
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-key": KEY,
    "sec-websocket-version": "13",
    "sec-websocket-protocol": "audio.jambonz.org",
}
SWITCH = (("upgrade", "websocket"), ("connection", "Upgrade"))
PASSWORD = "open \u00dfesame: 7"
LOCKED = HandshakePolicy(credentials=("alice", PASSWORD))


def request(target: str = "/", /, **changes: str | None) -> Request:
    """A GET that is right but for some headers; None takes one away."""
    headers = HEADERS | {name.replace("_", "-"): value for name, value in changes.items()}
    kept = tuple((name, value) for name, value in headers.items() if value is not None)
    return Request(target, kept)


def accepted(subprotocol: str | None, asked: Request | None = None) -> Accepted:
    """An answer that is right but perhaps for its subprotocol."""
    key = (asked or request()).header("sec-websocket-key") or ""
    token = generate_accept_token(key.encode()).decode()
    return Accepted(subprotocol, (*SWITCH, ("sec-websocket-accept", token)))


def status(verdict: Accept | Reject) -> int:
    return verdict.status if isinstance(verdict, Reject) else 101


def sentence(verdict: Accept | Reject) -> str:
    assert isinstance(verdict, Reject)
    return verdict.reason


def header(verdict: Accept | Reject, name: str) -> str | None:
    assert isinstance(verdict, Reject)
    return dict(verdict.headers).get(name)


def test_a_platform_is_let_in() -> None:
    assert judge_request(request(), HandshakePolicy()) == Accept("audio.jambonz.org")
    assert SUBPROTOCOL == "audio.jambonz.org"
    assert SUBPROTOCOLS == ("audio.jambonz.org", "audio.drachtio.org")


def test_a_platform_that_meets_every_condition_is_let_in() -> None:
    policy = HandshakePolicy(
        paths={"/call"}, credentials=("alice", PASSWORD), health_path="/health", max_calls=1
    )
    right = request("/call?id=7", authorization=basic_credentials("alice", PASSWORD))
    assert judge_request(right, policy) == Accept("audio.jambonz.org")
    assert judge_request(right, policy, open_calls=0) == Accept("audio.jambonz.org")


def test_without_a_number_no_calls_are_open() -> None:
    one = HandshakePolicy(max_calls=1)
    assert judge_request(request(), one) == Accept("audio.jambonz.org")
    assert judge_upgrade(request(), accepted("audio.jambonz.org"), policy=one) == []


@pytest.mark.parametrize("field", ["paths", "subprotocols"])
def test_a_text_is_no_collection_of_texts(field: str) -> None:
    says = re.escape(f"{field} must be a tuple or set of strings; it is '/calls'")
    with pytest.raises(ValueError, match=says):
        HandshakePolicy(**{field: "/calls"})  # type: ignore[arg-type]
    for wrong in (b"/calls", bytearray(b"/"), 5, (b"/calls",), {"/", None}):
        with pytest.raises(ValueError, match=f"^{field} must be a tuple or set of strings; it is "):
            HandshakePolicy(**{field: wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["subprotocols", "without"])
def test_a_judge_takes_no_text_for_a_collection_of_texts(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a tuple or set of strings; it is 'x'$"):
        judge_upgrade(request(), **{name: "x"})  # type: ignore[arg-type]


def test_paths_may_be_whatever_answers_in() -> None:
    class Calls:
        def __contains__(self, path: object) -> bool:
            return isinstance(path, str) and path.startswith("/call")

    policy = HandshakePolicy(paths=Calls())
    assert judge_request(request("/call7"), policy) == Accept("audio.jambonz.org")
    assert isinstance(judge_request(request("/"), policy), Reject)


@pytest.mark.parametrize("given", ["alice:secret", ("secret",), ("alice", b"secret"), {"a", "b"}])
def test_credentials_are_a_pair_and_never_shown(given: object) -> None:
    with pytest.raises(ValueError, match=r"^credentials must be a tuple of two strings") as caught:
        HandshakePolicy(credentials=given)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


def test_a_policy_that_nobody_could_meet_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^subprotocols is empty, so no request could be "):
        HandshakePolicy(subprotocols=())
    anonymous = HandshakePolicy(subprotocols=(), allow_no_subprotocol=True)
    refused = judge_request(request(), anonymous)
    assert isinstance(refused, Reject)
    assert refused.reason == "Subprotocols offered: audio.jambonz.org; supported: none."


def test_subprotocols_are_named_as_they_are() -> None:
    listed = request(sec_websocket_protocol=" Xlarge,\tmaX , XX")
    assert listed.subprotocols == ("Xlarge", "maX", "XX")


def test_a_breach_of_the_upgrade_says_what_and_why() -> None:
    offering = request(sec_websocket_protocol="one, two")
    (missing,) = judge_upgrade(offering)
    assert str(missing) == f"LP-HS-3: the subprotocol {SUBPROTOCOL} is not offered"
    for offer, named, says in (
        (("one", "two"), "three", "LP-HS-18: the subprotocol three was not offered"),
        (
            ("one", "two"),
            None,
            "LP-HS-7: the answer's subprotocol is missing, but both ends know one, two",
        ),
        ((), "three", "LP-HS-18: the subprotocol three was not offered"),
    ):
        asked = request(sec_websocket_protocol=", ".join(offer) or None)
        (wrong,) = judge_upgrade(asked, accepted(named), subprotocols=offer)
        assert str(wrong) == says


def test_of_what_is_long_a_reason_quotes_the_start() -> None:
    path, names = "/" + "p" * 999, ", ".join(f"one{number}" for number in range(100))
    elsewhere = judge_request(request(path), HandshakePolicy(paths=["/call"]))
    assert elsewhere == Reject(404, f"This server has no path {path[:200]}; check the URL.")
    supported = "audio.jambonz.org and audio.drachtio.org"
    unknown = judge_request(request(sec_websocket_protocol=names), HandshakePolicy())
    said = f"Subprotocols offered: {names[:200]}; supported: {supported}."
    assert unknown == Reject(400, said)
    (wrong,) = judge_upgrade(request(path), verb=ListenVerb(url=f"ws://app.example{path}/else"))
    asked = f"the request is for {path[:200]}"
    assert wrong.reason == f"{asked}, but the verb's url has {path[:200]}"
    named, offered = "x" * 1000, request(sec_websocket_protocol=names)
    (wrong,) = judge_upgrade(offered, accepted(named), subprotocols=())
    assert wrong.reason == f"the subprotocol {named[:60]} was not offered"
    both = request(sec_websocket_protocol=f"{named}, {names}")
    few = HandshakePolicy(subprotocols=names.split(", "))
    (wrong,) = judge_upgrade(both, accepted(named), subprotocols=(), policy=few)
    said = f"the answer's subprotocol is {named[:60]}, but both ends know {names[:200]}"
    assert wrong.reason == said


# The order of the reasons (D3).

STRICT = HandshakePolicy(
    paths={"/call"}, credentials=("alice", PASSWORD), health_path="/ok", max_calls=2
)
FAULTS: list[tuple[int, dict[str, str | None]]] = [
    # the answer, and the headers that deserve it
    (426, {"upgrade": None}),
    (404, {}),
    (401, {"authorization": "Basic Zm9vOmJhcg=="}),
    (400, {"sec_websocket_key": "short"}),
    (400, {"sec_websocket_protocol": "soap"}),
]


@pytest.mark.parametrize("present", [*product([False, True], repeat=len(FAULTS) + 1)])
def test_of_several_reasons_the_first_is_given(present: tuple[bool, ...]) -> None:
    full, *faulty = present
    changes: dict[str, str | None] = {"authorization": basic_credentials("alice", PASSWORD)}
    reasons = [503] if full else []
    for fault, (answer, headers) in zip(faulty, FAULTS, strict=True):
        if fault:
            changes |= headers
            reasons.append(answer)
    target = "/elsewhere" if 404 in reasons else "/call"
    verdict = judge_request(request(target, **changes), STRICT, open_calls=2 if full else 1)
    assert status(verdict) == (reasons or [101])[0]


# 503


@pytest.mark.parametrize(
    ("max_calls", "open_calls", "answer"),
    [(None, 10_000, 101), (2, 0, 101), (2, 1, 101), (2, 2, 503), (2, 3, 503), (0, 0, 503)],
)
def test_the_limit_of_open_calls(max_calls: int | None, open_calls: int, answer: int) -> None:
    verdict = judge_request(request(), HandshakePolicy(max_calls=max_calls), open_calls=open_calls)
    assert status(verdict) == answer
    if answer == 503:
        assert str(max_calls) in sentence(verdict)


# 426, and 200 on the health path


@pytest.mark.parametrize(
    "changes",
    [
        {"upgrade": None},
        {"connection": None},
        {"upgrade": None, "connection": None},
        {"upgrade": "h2c"},
        {"connection": "keep-alive"},
        {"upgrade": "websockets"},
    ],
)
def test_what_is_no_upgrade_is_told_to_upgrade(changes: dict[str, str | None]) -> None:
    verdict = judge_request(request(**changes), HandshakePolicy())
    assert status(verdict) == 426
    assert header(verdict, "Upgrade") == "websocket"
    assert header(verdict, "Connection") == "Upgrade"


@pytest.mark.parametrize(
    ("connection", "upgrade"),
    [("keep-alive, Upgrade", "websocket"), ("UPGRADE", "WebSocket"), ("upgrade", "h2c, websocket")],
)
def test_an_upgrade_may_be_spelled_in_many_ways(connection: str, upgrade: str) -> None:
    assert (
        status(judge_request(request(connection=connection, upgrade=upgrade), HandshakePolicy()))
        == 101
    )


HEALTH = attrs.evolve(STRICT, health_path="/health")


@pytest.mark.parametrize(
    "target", ["/health", "/health?from=balancer", "http://app.example/health?from=balancer"]
)
def test_a_plain_get_of_the_health_path_is_answered_200(target: str) -> None:
    plain = Request(target, (("host", "app.example"),))
    assert judge_request(plain, HEALTH) == Reject(200, "OK")
    assert status(judge_request(plain, HEALTH, open_calls=2)) == 503
    assert status(judge_request(plain, HandshakePolicy())) == 426


@pytest.mark.parametrize("target", ["/", "/health/", "/healthy", "/Health", "/call"])
def test_a_plain_get_elsewhere_is_not_answered_200(target: str) -> None:
    assert status(judge_request(Request(target, ()), HEALTH)) == 426


def test_only_a_plain_get_asks_for_health() -> None:
    assert status(judge_request(Request("/health", (), "POST"), HEALTH)) == 426
    knocking = request("/health", authorization=basic_credentials("alice", PASSWORD))
    assert status(judge_request(knocking, HEALTH)) == 404


# 404


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("/call", 101),
        ("/call?a=/other", 101),
        ("/other", 404),
        ("/", 404),
        ("/call/", 404),
        ("/CALL", 404),
        ("/callers", 404),
        ("/other?/call", 404),
        ("http://app.example/call", 101),
        ("http://app.example:3000/call?a=/other", 101),
        ("WSS://[2001:db8::1]:3000/call", 101),
        ("http://u:p@app.example/call", 101),
        ("http://app.example/other", 404),
        ("http://app.example/call/", 404),
        ("http://app.example?/call", 404),
        ("http://app.example", 404),
        ("/http://app.example/call", 404),
    ],
)
def test_only_the_paths_that_are_served(target: str, answer: int) -> None:
    verdict = judge_request(request(target), HandshakePolicy(paths={"/call"}))
    assert status(verdict) == answer
    if answer == 404:
        assert f" {request(target).path};" in sentence(verdict)
    assert status(judge_request(request(target), HandshakePolicy())) == 101
    assert status(judge_request(request(target), HandshakePolicy(paths=()))) == 404


@pytest.mark.parametrize(
    ("target", "resource"),
    [
        ("/", "/"),
        ("/a?b=http://c/d", "/a?b=http://c/d"),
        ("//a/b", "//a/b"),
        ("http://app.example", "/"),
        ("HTTPS://app.example/", "/"),
        ("wS://app.example?b", "/?b"),
        ("wss://app.example:3000/a?b/c?d", "/a?b/c?d"),
        ("http://app.example//a", "//a"),
    ],
)
def test_the_path_and_the_query_of_a_url_are_those_of_the_request(
    target: str, resource: str
) -> None:
    """RFC 9112, 3.2.2."""
    asked = request(target)
    assert asked.resource == resource
    assert asked.path == resource.partition("?")[0]
    assert status(judge_request(asked, HandshakePolicy(paths={asked.path}))) == 101
    verb = ListenVerb(url=f"ws://app.example{resource}")
    assert judge_upgrade(asked, verb=verb) == []


@pytest.mark.parametrize(
    "target", ["*", "app.example:80", "http:///call", "http://", "http:/call", "ftp://a/call"]
)
def test_what_is_no_path_is_asked_for_in_vain(target: str) -> None:
    assert (request(target).resource, request(target).path) == (target, target)
    assert status(judge_request(request(target), HandshakePolicy(paths={"/call", "/"}))) == 404
    verdict = judge_request(request(target), HandshakePolicy())
    assert status(verdict) == 400
    assert "its target is neither a path nor a URL" in sentence(verdict)
    assert status(judge_request(Request(target, ()), HandshakePolicy(health_path="/"))) == 426


# 401


def encoded(credentials: bytes) -> str:
    return base64.b64encode(credentials).decode()


RIGHT = encoded(f"alice:{PASSWORD}".encode())


@pytest.mark.parametrize(
    "authorization",
    [f"Basic {RIGHT}", f"basic {RIGHT}", f"BASIC {RIGHT}", f"Basic   {RIGHT} "],
)
def test_the_right_credentials(authorization: str) -> None:
    assert judge_request(request(authorization=authorization), LOCKED) == Accept(
        "audio.jambonz.org"
    )


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic ",
        RIGHT,
        f"Bearer {RIGHT}",
        f"Basic{RIGHT}",
        f"Basic {RIGHT[:-4]}",
        f"Basic {RIGHT[:-1]}",
        f"Basic {RIGHT}AAAA",
        f"Basic {RIGHT}, Basic {RIGHT}",
        f"Basic *{RIGHT}",
        f"Basic \xa0{RIGHT}",
        f"Basic {RIGHT}\x85",
        f"Basic {RIGHT}\x1f",
        f"Basic\xa0{RIGHT}",
        f"Basic\t{RIGHT}",
        "Basic alice:open",
        "Basic \u00e4\u00f6\u00fc",
        "\u00dfasic \u00ff",
        "Basic " + encoded(b"alice"),
        "Basic " + encoded(b":"),
        "Basic " + encoded(b"alice:"),
        "Basic " + encoded(b"alice:wrong"),
        "Basic " + encoded(f":{PASSWORD}".encode()),
        "Basic " + encoded(f"bob:{PASSWORD}".encode()),
        "Basic " + encoded(f"ALICE:{PASSWORD}".encode()),
        "Basic " + encoded(f"alice:{PASSWORD} ".encode()),
        "Basic " + encoded(f"alice:{PASSWORD}".encode("latin-1")),
        "Basic " + encoded(b"\xff\xfe:\x00"),
    ],
)
def test_wrong_or_missing_credentials(authorization: str | None) -> None:
    verdict = judge_request(request(authorization=authorization), LOCKED)
    assert status(verdict) == 401
    assert (header(verdict, "WWW-Authenticate") or "").startswith("Basic realm=")
    assert PASSWORD not in repr(verdict)
    assert status(judge_request(request(authorization=authorization), HandshakePolicy())) == 101


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Basic *", "Bearer " + RIGHT, "Basic " + encoded(b"alice:wrong"), f"Basic {RIGHT}"],
)
def test_credentials_are_always_compared_in_constant_time(
    authorization: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LP-HS-14: no credentials, however wrong, are turned away on a shorter way."""
    compared = []

    def compare(entered: bytes, expected: bytes) -> bool:
        compared.append(expected)
        return compare_digest(entered, expected)

    monkeypatch.setattr("hmac.compare_digest", compare)
    judge_request(request(authorization=authorization), LOCKED)
    assert compared == [f"alice:{PASSWORD}".encode()]


def test_the_first_colon_ends_the_user_name() -> None:
    same = request(authorization=basic_credentials("a", "b:c"))
    assert status(judge_request(same, HandshakePolicy(credentials=("a", "b:c")))) == 101


@given(st.text(st.characters(codec="latin-1"), max_size=40))
def test_nobody_gets_in_by_accident(authorization: str) -> None:
    for entered in (authorization, f"Basic {authorization}"):
        assert status(judge_request(request(authorization=entered), LOCKED)) == 401


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_whoever_has_the_credentials_gets_in(username: str, password: str) -> None:
    policy = HandshakePolicy(credentials=(username, password))
    entered = basic_credentials(username, password)
    assert status(judge_request(request(authorization=entered), policy)) == 101


def test_credentials_look_as_in_the_rfc() -> None:
    # RFC 7617, 2 and 2.1
    assert basic_credentials("Aladdin", "open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert basic_credentials("test", "123\u00a3") == "Basic dGVzdDoxMjPCow=="


def test_a_policy_does_not_show_its_password() -> None:
    shown = repr(LOCKED) + str(LOCKED) + f"{LOCKED}"
    assert PASSWORD not in shown
    assert "esame" not in shown


# 400: malformed


@pytest.mark.parametrize(
    "changes",
    [
        {"sec_websocket_key": None},
        {"sec_websocket_key": ""},
        {"sec_websocket_key": "c2hvcnQ="},
        {"sec_websocket_key": encoded(bytes(17))},
        {"sec_websocket_key": KEY[:-1]},
        {"sec_websocket_key": "*" * 24},
        {"sec_websocket_key": "\u00e4" * 24},
        {"sec_websocket_key": f"{KEY}, {KEY}"},
        {"sec_websocket_version": None},
    ],
)
def test_a_malformed_upgrade_is_refused(changes: dict[str, str | None]) -> None:
    verdict = judge_request(request(**changes), HandshakePolicy())
    assert status(verdict) == 400
    (name,) = changes
    assert name.replace("_", "-") in sentence(verdict).lower()


def test_only_a_get_can_be_upgraded() -> None:
    verdict = judge_request(attrs.evolve(request(), method="POST"), HandshakePolicy())
    assert status(verdict) == 400
    assert "GET" in sentence(verdict)


@pytest.mark.parametrize("version", ["8", "12", "14", "013", "13.0", "13, 8", "", "\u00b9\u00b3"])
def test_another_version_is_told_the_one_that_is_spoken(version: str) -> None:
    # RFC 6455, 4.2.2
    verdict = judge_request(request(sec_websocket_version=version), HandshakePolicy())
    assert status(verdict) == 426
    assert header(verdict, "Sec-WebSocket-Version") == "13"
    assert "Sec-WebSocket-Version" in sentence(verdict)


# 400: the subprotocol (D2)


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        ("audio.jambonz.org", "audio.jambonz.org"),
        ("audio.drachtio.org", "audio.drachtio.org"),
        ("audio.drachtio.org, audio.jambonz.org", "audio.drachtio.org"),
        ("soap,audio.jambonz.org", "audio.jambonz.org"),
        ("soap , audio.drachtio.org,\tother", "audio.drachtio.org"),
    ],
)
def test_one_that_was_offered_is_answered(offered: str, answered: str) -> None:
    assert judge_request(request(sec_websocket_protocol=offered), HandshakePolicy()) == Accept(
        answered
    )


def test_offers_in_several_headers_are_one_list() -> None:
    both = Request("/", (*request().headers, ("sec-websocket-protocol", "audio.drachtio.org")))
    only_second = HandshakePolicy(subprotocols=("audio.drachtio.org",))
    assert judge_request(both, only_second) == Accept("audio.drachtio.org")


@pytest.mark.parametrize(
    ("offered", "named"),
    [
        ("soap", "soap"),
        ("soap, wamp", "soap, wamp"),
        ("AUDIO.JAMBONZ.ORG", "AUDIO.JAMBONZ.ORG"),
        ("audio.jambonz.org.evil", "audio.jambonz.org.evil"),
        (None, "none"),
    ],
)
def test_others_or_none_are_refused_with_what_is_supported(offered: str | None, named: str) -> None:
    verdict = judge_request(request(sec_websocket_protocol=offered), HandshakePolicy())
    assert status(verdict) == 400
    assert f"offered: {named};" in sentence(verdict)
    assert all(name in sentence(verdict) for name in SUBPROTOCOLS)


def test_none_offered_is_taken_where_that_is_allowed() -> None:
    policy = HandshakePolicy(allow_no_subprotocol=True)
    assert judge_request(request(sec_websocket_protocol=None), policy) == Accept(None)
    assert judge_request(request(), policy) == Accept("audio.jambonz.org")
    assert status(judge_request(request(sec_websocket_protocol="soap"), policy)) == 400


def test_an_app_may_support_others() -> None:
    policy = HandshakePolicy(subprotocols=("mine",))
    assert judge_request(
        request(sec_websocket_protocol="audio.jambonz.org, mine"), policy
    ) == Accept("mine")
    verdict = judge_request(request(), policy)
    assert status(verdict) == 400
    assert "supported: mine" in sentence(verdict)


LATIN = st.text(st.characters(codec="latin-1"), max_size=20)
NAMES = st.sampled_from([*HEADERS, "authorization"]) | LATIN
VALUES = st.sampled_from([*HEADERS.values(), f"Basic {RIGHT}", "audio.drachtio.org, x"]) | LATIN


@given(
    st.builds(Request, LATIN, st.lists(st.tuples(NAMES, VALUES)).map(tuple), LATIN),
    st.dictionaries(NAMES, VALUES),
    st.sampled_from(
        [HandshakePolicy(), LOCKED, STRICT, HandshakePolicy(allow_no_subprotocol=True)]
    ),
)
def test_any_request_gets_a_verdict(
    junk: Request, changes: dict[str, str], policy: HandshakePolicy
) -> None:
    nearly = attrs.evolve(junk, headers=tuple((HEADERS | changes).items()), method="GET")
    for asked in (junk, nearly):
        verdict = judge_request(asked, policy)
        if isinstance(verdict, Accept):
            assert asked.upgrade_fault is None
            assert verdict.subprotocol in (*asked.subprotocols, None)
            assert verdict.subprotocol in (*policy.subprotocols, None)
        else:
            assert verdict.status in (200, 400, 401, 404, 426, 503)
            assert verdict.reason


# Who did it wrong.


VERB = ListenVerb(
    url="https://app.example/call?id=7", ws_auth=WsAuth(username="alice", password=PASSWORD)
)
ENTERED = f"Basic {RIGHT}"
ASKED = request("/call?id=7", authorization=ENTERED)
TAKEN = accepted(SUBPROTOCOL)
DEFLATE = (("sec-websocket-extensions", "permessage-deflate ; x=1"),)
CHALLENGE = (("www-authenticate", 'Basic realm="listen"'),)
SOAP = request(sec_websocket_protocol="soap")
NOTHING_OFFERED = request(sec_websocket_protocol=None)
PLAIN = Request("/health", (("host", "app.example"),))
OPEN = HandshakePolicy()
MAY_BE_NONE = HandshakePolicy(allow_no_subprotocol=True)
FULL = HandshakePolicy(max_calls=0)
ONE_PATH = HandshakePolicy(paths={"/call"})


def refused(status: int, *headers: tuple[str, str], body: bytes = b"It is so.") -> Rejected:
    return Rejected(status, headers, body)


def answer_to(asked: Request, policy: HandshakePolicy, open_calls: int = 0) -> Accepted | Rejected:
    """The answer that the policy asks for, as the platform reads it."""
    verdict = judge_request(asked, policy, open_calls=open_calls)
    if isinstance(verdict, Accept):
        return accepted(verdict.subprotocol, asked)
    headers = tuple((name.lower(), value) for name, value in verdict.headers)
    return Rejected(verdict.status, headers, verdict.reason.encode())


def of_the_app(asked: Request, answer: Accepted | Rejected, **options: Any) -> list[Violation]:
    found = judge_upgrade(asked, answer, **options)
    return [violation for violation in found if violation.sender is Peer.APP]


REQUEST_FAULTS: list[tuple[str, Request]] = [
    ("LP-HS-1", attrs.evolve(ASKED, method="POST")),
    ("LP-HS-1", request("/call?id=7", authorization=ENTERED, upgrade=None)),
    ("LP-HS-1", request("/call?id=7", authorization=ENTERED, connection="keep-alive")),
    ("LP-HS-1", request("/call?id=7", authorization=ENTERED, sec_websocket_key="short")),
    ("LP-HS-1", request("/call?id=7", authorization=ENTERED, sec_websocket_version="8")),
    ("LP-HS-2", request("/", authorization=ENTERED)),
    ("LP-HS-2", request("/call", authorization=ENTERED)),
    ("LP-HS-2", request("/call?id=8", authorization=ENTERED)),
    ("LP-HS-2", request("/Call?id=7", authorization=ENTERED)),
    ("LP-HS-3", request("/call?id=7", authorization=ENTERED, sec_websocket_protocol=None)),
    ("LP-HS-3", request("/call?id=7", authorization=ENTERED, sec_websocket_protocol="soap")),
    ("LP-HS-4", request("/call?id=7")),
    ("LP-HS-4", request("/call?id=7", authorization=f"Bearer {RIGHT}")),
    ("LP-HS-4", request("/call?id=7", authorization=basic_credentials("alice", "wrong"))),
    ("LP-HS-4", request("/call?id=7", authorization=basic_credentials("", ""))),
]


@pytest.mark.parametrize(("clause", "asked"), REQUEST_FAULTS)
def test_a_request_is_accused_of_one_breach_and_no_other(clause: str, asked: Request) -> None:
    for answer in (None, answer_to(asked, OPEN)):
        (violation,) = judge_upgrade(asked, answer, verb=VERB)
        assert (violation.clause, violation.sender) == (clause, Peer.PLATFORM)
        assert violation.message is asked
        assert not violation.fatal
        assert str(violation).startswith(f"{clause}: ")
        assert PASSWORD not in str(violation) and RIGHT not in str(violation)
        assert judge_upgrade(asked, answer, verb=VERB, without={clause}) == []


ANSWER_FAULTS: list[tuple[str, Request, Accepted | Rejected, HandshakePolicy]] = [
    ("LP-HS-6", ASKED, refused(400), OPEN),
    ("LP-HS-6", request(sec_websocket_protocol="audio.drachtio.org"), refused(400), OPEN),
    ("LP-HS-6", request(sec_websocket_protocol="soap, audio.jambonz.org"), refused(400), OPEN),
    ("LP-HS-7", ASKED, accepted(None), OPEN),
    ("LP-HS-18", ASKED, accepted("audio.drachtio.org"), OPEN),
    ("LP-HS-18", ASKED, accepted("AUDIO.JAMBONZ.ORG"), OPEN),
    ("LP-HS-18", request(sec_websocket_protocol="soap, audio.drachtio.org"), TAKEN, OPEN),
    (
        "LP-HS-7",
        request(sec_websocket_protocol="soap, audio.jambonz.org"),
        accepted("soap"),
        OPEN,
    ),
    ("LP-HS-8", SOAP, accepted("soap"), OPEN),
    ("LP-HS-8", SOAP, accepted(None), MAY_BE_NONE),
    ("LP-HS-8", NOTHING_OFFERED, accepted(None), OPEN),
    ("LP-HS-8", SOAP, refused(403), OPEN),
    ("LP-HS-9", ASKED, TAKEN, FULL),
    ("LP-HS-9", ASKED, refused(500), FULL),
    ("LP-HS-9", PLAIN, refused(429), FULL),
    ("LP-HS-10", request(upgrade=None), TAKEN, OPEN),
    ("LP-HS-10", request(connection=None), refused(404), OPEN),
    ("LP-HS-10", PLAIN, refused(200), OPEN),
    ("LP-HS-11", PLAIN, refused(426), HEALTH),
    ("LP-HS-11", PLAIN, refused(404), HEALTH),
    ("LP-HS-12", request("/other"), TAKEN, ONE_PATH),
    ("LP-HS-12", request("/other"), refused(403), ONE_PATH),
    ("LP-HS-13", request(), TAKEN, LOCKED),
    ("LP-HS-13", request(authorization=f"Bearer {RIGHT}"), TAKEN, LOCKED),
    ("LP-HS-13", request(), refused(403), LOCKED),
    ("LP-HS-13", request(), refused(401), LOCKED),
    ("LP-HS-13", request(), refused(401, ("www-authenticate", "Bearer")), LOCKED),
    ("LP-HS-13", request(), refused(401, ("www-authenticate", "Basic\xa0realm=x")), LOCKED),
    ("LP-HS-15", request(sec_websocket_key="short"), TAKEN, OPEN),
    ("LP-HS-15", request(sec_websocket_version="8"), TAKEN, OPEN),
    ("LP-HS-15", request(sec_websocket_version="8"), refused(400), OPEN),
    ("LP-HS-15", request(sec_websocket_key="short"), refused(426), OPEN),
    ("LP-HS-16", request("/other"), refused(401, *CHALLENGE), STRICT),
    ("LP-HS-19", ASKED, Accepted(SUBPROTOCOL, ()), OPEN),
    ("LP-HS-19", ASKED, Accepted(SUBPROTOCOL, SWITCH), OPEN),
    ("LP-HS-19", ASKED, attrs.evolve(TAKEN, headers=TAKEN.headers[1:]), OPEN),
    ("LP-HS-19", ASKED, attrs.evolve(TAKEN, headers=(*TAKEN.headers, SWITCH[0])), OPEN),
    ("LP-HS-19", ASKED, attrs.evolve(TAKEN, headers=(*TAKEN.headers, *DEFLATE)), OPEN),
    (
        "LP-HS-19",
        request(sec_websocket_extensions="permessage-deflate2, x; permessage-deflate"),
        attrs.evolve(TAKEN, headers=(*TAKEN.headers, *DEFLATE)),
        OPEN,
    ),
    (
        "LP-HS-19",
        ASKED,
        Accepted(SUBPROTOCOL, (*SWITCH, ("sec-websocket-accept", "A" * 28))),
        OPEN,
    ),
    ("LP-HS-17", SOAP, refused(400, body=b""), OPEN),
    ("LP-HS-17", SOAP, refused(400, body=b" \r\n"), OPEN),
    ("LP-HS-17", request(), refused(401, *CHALLENGE, body=b""), LOCKED),
    ("LP-HS-17", ASKED, refused(503, body=b""), FULL),
]


@pytest.mark.parametrize(("clause", "asked", "answer", "policy"), ANSWER_FAULTS)
def test_an_answer_is_accused_of_one_breach_and_no_other(
    clause: str, asked: Request, answer: Accepted | Rejected, policy: HandshakePolicy
) -> None:
    (violation,) = of_the_app(asked, answer, policy=policy)
    assert (violation.clause, violation.message) == (clause, answer)
    assert violation.message is answer
    assert not violation.fatal
    assert str(violation).startswith(f"{clause}: ")
    assert PASSWORD not in str(violation)
    assert of_the_app(asked, answer, policy=policy, without={clause}) == []


def test_an_app_may_choose_an_extension_that_was_offered() -> None:
    asked = request(sec_websocket_extensions="x, permessage-deflate; client_max_window_bits")
    chosen = attrs.evolve(TAKEN, headers=(*TAKEN.headers, *DEFLATE))
    assert of_the_app(asked, chosen, policy=OPEN) == []
    (wrong,) = of_the_app(request(), chosen, policy=OPEN)
    assert wrong.reason == "the extension permessage-deflate was not offered"


def test_a_platform_that_offers_nothing_may_be_refused_even_by_an_app_that_would_take_it() -> None:
    assert of_the_app(NOTHING_OFFERED, refused(400), policy=MAY_BE_NONE) == []


def test_every_clause_that_shows_in_the_two_heads_can_be_named() -> None:
    named = {fault[0] for fault in (*REQUEST_FAULTS, *ANSWER_FAULTS)}
    unseen = {5, 14}  # what the platform makes of the answer, and how long the app takes
    assert named == {f"LP-HS-{number}" for number in range(1, 20) if number not in unseen}


IN_TURN: list[tuple[int, dict[str, str | None]]] = [(503, {}), *FAULTS[:-1]]


# What is no upgrade request at all is no malformed one.
PAIRS = [pair for pair in combinations(IN_TURN, 2) if [due for due, _ in pair] != [426, 400]]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_refusal_that_comes_before_its_turn_is_named(
    first: tuple[int, dict[str, str | None]], second: tuple[int, dict[str, str | None]]
) -> None:
    (due, some), (early, others) = first, second
    target = "/elsewhere" if 404 in (due, early) else "/call"
    asked = request(target, **({"authorization": ENTERED} | some | others))
    open_calls = 2 if due == 503 else 0
    for answered, clauses in ((due, []), (early, ["LP-HS-16"])):
        found = of_the_app(
            asked, refused(answered, *CHALLENGE), policy=STRICT, open_calls=open_calls
        )
        assert [violation.clause for violation in found] == clauses


def test_of_the_two_refusals_that_come_last_either_may_be_given() -> None:
    """LP-HS-16: of another version, and with no subprotocol that is known."""
    asked = request(sec_websocket_version="8", sec_websocket_protocol="soap")
    for answer in (refused(400), refused(426, ("sec-websocket-version", "13"))):
        assert of_the_app(asked, answer, policy=OPEN) == []


def test_several_breaches_are_all_named_the_platforms_first() -> None:
    asked = Request("/", (), "POST")
    found = judge_upgrade(asked, refused(200, body=b""), verb=VERB, policy=OPEN)
    assert [(violation.clause, violation.sender) for violation in found] == [
        ("LP-HS-1", Peer.PLATFORM),
        ("LP-HS-2", Peer.PLATFORM),
        ("LP-HS-3", Peer.PLATFORM),
        ("LP-HS-4", Peer.PLATFORM),
        ("LP-HS-10", Peer.APP),
    ]
    without = {"LP-HS-1", "LP-HS-3", "LP-HS-10"}
    left = judge_upgrade(asked, refused(200), verb=VERB, policy=OPEN, without=without)
    assert [violation.clause for violation in left] == ["LP-HS-2", "LP-HS-4"]
    late = judge_upgrade(request(), refused(404, body=b""), policy=LOCKED)
    assert [violation.clause for violation in late] == ["LP-HS-17", "LP-HS-13"]


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        (ASKED, {}),
        (ASKED, {"verb": VERB}),
        (ASKED, {"verb": attrs.evolve(VERB, url="/call?id=7")}),
        (ASKED, {"verb": attrs.evolve(VERB, ws_auth=None)}),
        (request(), {"verb": ListenVerb(url="ws://app.example")}),
        (request(sec_websocket_protocol="soap, audio.jambonz.org"), {}),
        (request(sec_websocket_protocol="b,a"), {"subprotocols": ("a", "b")}),
        (NOTHING_OFFERED, {"subprotocols": ()}),
        (request("/call?id=7", authorization=f"basic {RIGHT}"), {"verb": VERB}),  # RFC 7617, 2
    ],
)
def test_a_platform_that_asks_as_it_should_is_not_accused(
    asked: Request, options: dict[str, Any]
) -> None:
    assert judge_upgrade(asked, **options) == []
    assert judge_upgrade(asked, answer_to(asked, MAY_BE_NONE), **options) == []


@pytest.mark.parametrize("offered", [None, "a", "audio.jambonz.org", "a,c"])
def test_a_platform_offers_all_that_it_was_configured_to_offer(offered: str | None) -> None:
    asked = request(sec_websocket_protocol=offered)
    (violation,) = judge_upgrade(asked, subprotocols=("a", "b"))
    assert violation.clause == "LP-HS-3"


@given(
    st.builds(Request, LATIN, st.lists(st.tuples(NAMES, VALUES)).map(tuple), LATIN),
    st.dictionaries(NAMES, VALUES),
    st.sampled_from([OPEN, LOCKED, STRICT, HEALTH, MAY_BE_NONE, FULL]),
    st.integers(0, 3),
)
def test_an_app_that_answers_as_it_should_is_not_accused(
    junk: Request, changes: dict[str, str], policy: HandshakePolicy, open_calls: int
) -> None:
    nearly = attrs.evolve(junk, headers=tuple((HEADERS | changes).items()), method="GET")
    for asked in (junk, nearly, PLAIN):
        answer = answer_to(asked, policy, open_calls)
        assert of_the_app(asked, answer, policy=policy, open_calls=open_calls) == []
        assert of_the_app(asked, answer) == []  # nor where the policy is not known


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (ASKED, TAKEN),
        (ASKED, refused(401, *CHALLENGE)),
        (ASKED, refused(401)),
        (ASKED, refused(404)),
        (ASKED, refused(503)),
        (ASKED, refused(500)),
        (ASKED, refused(302, body=b"")),
        (NOTHING_OFFERED, accepted(None)),
        (NOTHING_OFFERED, refused(400)),
        (SOAP, refused(400)),
        (SOAP, accepted("soap")),
        (request(sec_websocket_protocol="soap, audio.jambonz.org"), accepted("soap")),
        (PLAIN, refused(200, body=b"")),
    ],
)
def test_what_some_policy_allows_is_not_held_against_an_unknown_one(
    asked: Request, answer: Accepted | Rejected
) -> None:
    assert of_the_app(asked, answer) == []


@pytest.mark.parametrize(
    ("clause", "asked", "answer"),
    [
        ("LP-HS-7", ASKED, accepted(None)),
        ("LP-HS-18", ASKED, accepted("audio.drachtio.org")),
        ("LP-HS-7", request(sec_websocket_protocol="soap, audio.jambonz.org"), accepted(None)),
        ("LP-HS-10", request(upgrade=None), TAKEN),
        ("LP-HS-15", request(sec_websocket_key="short"), TAKEN),
        ("LP-HS-15", request(sec_websocket_version="8"), TAKEN),
        ("LP-HS-17", ASKED, refused(404, body=b"")),
    ],
)
def test_what_no_policy_allows_is_named_where_the_policy_is_not_known(
    clause: str, asked: Request, answer: Accepted | Rejected
) -> None:
    (violation,) = of_the_app(asked, answer)
    assert violation.clause == clause
    assert of_the_app(asked, answer, without={clause}) == []
