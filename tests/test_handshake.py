"""The handshake: who is let in, and which of several reasons an app answers with."""

from __future__ import annotations

import base64
from itertools import product

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listenproto.handshake import (
    SUBPROTOCOL,
    SUBPROTOCOLS,
    Accept,
    Policy,
    Reject,
    Request,
    Verdict,
    basic_credentials,
    judge,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, 1.3
HEADERS = {
    "host": "app.example",
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-key": KEY,
    "sec-websocket-version": "13",
    "sec-websocket-protocol": "audio.jambonz.org",
}
PASSWORD = "open \u00dfesame: 7"
LOCKED = Policy(credentials=("alice", PASSWORD))


def request(target: str = "/", /, **changes: str | None) -> Request:
    """A GET that is right but for some headers; None takes one away."""
    headers = HEADERS | {name.replace("_", "-"): value for name, value in changes.items()}
    kept = tuple((name, value) for name, value in headers.items() if value is not None)
    return Request(target, kept)


def status(verdict: Verdict) -> int:
    return verdict.status if isinstance(verdict, Reject) else 101


def sentence(verdict: Verdict) -> str:
    assert isinstance(verdict, Reject)
    return verdict.reason


def header(verdict: Verdict, name: str) -> str | None:
    assert isinstance(verdict, Reject)
    return dict(verdict.headers).get(name)


def test_a_platform_is_let_in() -> None:
    assert judge(request(), Policy()) == Accept("audio.jambonz.org")
    assert SUBPROTOCOL == "audio.jambonz.org"
    assert SUBPROTOCOLS == ("audio.jambonz.org", "audio.drachtio.org")


def test_a_platform_that_meets_every_condition_is_let_in() -> None:
    policy = Policy(
        paths={"/call"}, credentials=("alice", PASSWORD), health_path="/health", max_calls=1
    )
    right = request("/call?id=7", authorization=basic_credentials("alice", PASSWORD))
    assert judge(right, policy) == Accept("audio.jambonz.org")
    assert judge(right, policy, open_calls=0) == Accept("audio.jambonz.org")


# The order of the reasons (D3).

STRICT = Policy(paths={"/call"}, credentials=("alice", PASSWORD), health_path="/ok", max_calls=2)
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
    verdict = judge(request(target, **changes), STRICT, open_calls=2 if full else 1)
    assert status(verdict) == (reasons or [101])[0]


# 503


@pytest.mark.parametrize(
    ("max_calls", "open_calls", "answer"),
    [(None, 10_000, 101), (2, 0, 101), (2, 1, 101), (2, 2, 503), (2, 3, 503), (0, 0, 503)],
)
def test_the_limit_of_open_calls(max_calls: int | None, open_calls: int, answer: int) -> None:
    verdict = judge(request(), Policy(max_calls=max_calls), open_calls=open_calls)
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
    verdict = judge(request(**changes), Policy())
    assert status(verdict) == 426
    assert header(verdict, "Upgrade") == "websocket"
    assert header(verdict, "Connection") == "Upgrade"


@pytest.mark.parametrize(
    ("connection", "upgrade"),
    [("keep-alive, Upgrade", "websocket"), ("UPGRADE", "WebSocket"), ("upgrade", "h2c, websocket")],
)
def test_an_upgrade_may_be_spelled_in_many_ways(connection: str, upgrade: str) -> None:
    assert status(judge(request(connection=connection, upgrade=upgrade), Policy())) == 101


HEALTH = attrs.evolve(STRICT, health_path="/health")


@pytest.mark.parametrize("target", ["/health", "/health?from=balancer"])
def test_a_plain_get_of_the_health_path_is_answered_200(target: str) -> None:
    plain = Request(target, (("host", "app.example"),))
    assert status(judge(plain, HEALTH)) == 200
    assert status(judge(plain, HEALTH, open_calls=2)) == 503
    assert status(judge(plain, Policy())) == 426


@pytest.mark.parametrize("target", ["/", "/health/", "/healthy", "/Health", "/call"])
def test_a_plain_get_elsewhere_is_not_answered_200(target: str) -> None:
    assert status(judge(Request(target, ()), HEALTH)) == 426


def test_only_a_plain_get_asks_for_health() -> None:
    assert status(judge(Request("/health", (), "POST"), HEALTH)) == 426
    knocking = request("/health", authorization=basic_credentials("alice", PASSWORD))
    assert status(judge(knocking, HEALTH)) == 404


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
    ],
)
def test_only_the_paths_that_are_served(target: str, answer: int) -> None:
    verdict = judge(request(target), Policy(paths={"/call"}))
    assert status(verdict) == answer
    if answer == 404:
        assert target.partition("?")[0] in sentence(verdict)
    assert status(judge(request(target), Policy())) == 101
    assert status(judge(request(target), Policy(paths=()))) == 404


# 401


def encoded(credentials: bytes) -> str:
    return base64.b64encode(credentials).decode()


RIGHT = encoded(f"alice:{PASSWORD}".encode())


@pytest.mark.parametrize(
    "authorization",
    [f"Basic {RIGHT}", f"basic {RIGHT}", f"BASIC {RIGHT}", f"Basic   {RIGHT} "],
)
def test_the_right_credentials(authorization: str) -> None:
    assert judge(request(authorization=authorization), LOCKED) == Accept("audio.jambonz.org")


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
    verdict = judge(request(authorization=authorization), LOCKED)
    assert status(verdict) == 401
    assert (header(verdict, "WWW-Authenticate") or "").startswith("Basic realm=")
    assert PASSWORD not in repr(verdict)
    assert status(judge(request(authorization=authorization), Policy())) == 101


def test_the_first_colon_ends_the_user_name() -> None:
    same = request(authorization=basic_credentials("a", "b:c"))
    assert status(judge(same, Policy(credentials=("a", "b:c")))) == 101


@given(st.text(st.characters(codec="latin-1"), max_size=40))
def test_nobody_gets_in_by_accident(authorization: str) -> None:
    for entered in (authorization, f"Basic {authorization}"):
        assert status(judge(request(authorization=entered), LOCKED)) == 401


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_whoever_has_the_credentials_gets_in(username: str, password: str) -> None:
    policy = Policy(credentials=(username, password))
    entered = basic_credentials(username, password)
    assert status(judge(request(authorization=entered), policy)) == 101


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
    verdict = judge(request(**changes), Policy())
    assert status(verdict) == 400
    (name,) = changes
    assert name.replace("_", "-") in sentence(verdict).lower()


def test_only_a_get_can_be_upgraded() -> None:
    verdict = judge(attrs.evolve(request(), method="POST"), Policy())
    assert status(verdict) == 400
    assert "GET" in sentence(verdict)


@pytest.mark.parametrize("version", ["8", "12", "14", "013", "13.0", "13, 8", "", "\u00b9\u00b3"])
def test_another_version_is_told_the_one_that_is_spoken(version: str) -> None:
    # RFC 6455, 4.2.2
    verdict = judge(request(sec_websocket_version=version), Policy())
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
    assert judge(request(sec_websocket_protocol=offered), Policy()) == Accept(answered)


def test_offers_in_several_headers_are_one_list() -> None:
    both = Request("/", (*request().headers, ("sec-websocket-protocol", "audio.drachtio.org")))
    only_second = Policy(subprotocols=("audio.drachtio.org",))
    assert judge(both, only_second) == Accept("audio.drachtio.org")


@pytest.mark.parametrize(
    ("offered", "named"),
    [
        ("soap", "soap"),
        ("soap, wamp", "soap, wamp"),
        ("AUDIO.JAMBONZ.ORG", "AUDIO.JAMBONZ.ORG"),
        ("audio.jambonz.org.evil", "audio.jambonz.org.evil"),
        ("\u00e4udio", "\u00e4udio"),
        ("", "none"),
        (" , ", "none"),
        (None, "none"),
    ],
)
def test_others_or_none_are_refused_with_what_is_supported(offered: str | None, named: str) -> None:
    verdict = judge(request(sec_websocket_protocol=offered), Policy())
    assert status(verdict) == 400
    assert f"offered: {named};" in sentence(verdict)
    assert all(name in sentence(verdict) for name in SUBPROTOCOLS)


def test_none_offered_is_taken_where_that_is_allowed() -> None:
    policy = Policy(allow_no_subprotocol=True)
    assert judge(request(sec_websocket_protocol=None), policy) == Accept(None)
    assert judge(request(), policy) == Accept("audio.jambonz.org")
    assert status(judge(request(sec_websocket_protocol="soap"), policy)) == 400


def test_an_app_may_support_others() -> None:
    policy = Policy(subprotocols=("mine",))
    assert judge(request(sec_websocket_protocol="audio.jambonz.org, mine"), policy) == Accept(
        "mine"
    )
    verdict = judge(request(), policy)
    assert status(verdict) == 400
    assert "supported: mine" in sentence(verdict)


LATIN = st.text(st.characters(codec="latin-1"), max_size=20)
NAMES = st.sampled_from([*HEADERS, "authorization"]) | LATIN
VALUES = st.sampled_from([*HEADERS.values(), f"Basic {RIGHT}", "audio.drachtio.org, x"]) | LATIN


@given(
    st.builds(Request, LATIN, st.lists(st.tuples(NAMES, VALUES)).map(tuple), LATIN),
    st.dictionaries(NAMES, VALUES),
    st.sampled_from([Policy(), LOCKED, STRICT, Policy(allow_no_subprotocol=True)]),
)
def test_any_request_gets_a_verdict(junk: Request, changes: dict[str, str], policy: Policy) -> None:
    nearly = attrs.evolve(junk, headers=tuple((HEADERS | changes).items()), method="GET")
    for asked in (junk, nearly):
        verdict = judge(asked, policy)
        if isinstance(verdict, Accept):
            assert asked.upgrade_fault is None
            assert verdict.subprotocol in (*asked.subprotocols, None)
            assert verdict.subprotocol in (*policy.subprotocols, None)
        else:
            assert verdict.status in (200, 400, 401, 404, 426, 503)
            assert verdict.reason
