"""Calls that a server has accepted, and that end before their handler can start."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from listenproto import AppSession, HandshakePolicy, Metadata, Mode, Request
from listenproto_trio import Answering, Call, Tap, serve_stream
from tests.trio_support import Bare, asking, bare_platform, virtual

Lost = list[tuple[AppSession, str]]


@pytest.fixture(autouse=True)
def _log_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


async def never(call: Call) -> None:
    raise AssertionError("it has begun")


@asynccontextmanager
async def served(answering: Answering) -> AsyncIterator[trio.abc.Stream]:
    """The platform's end of a connection to an app."""
    app_stream, platform_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve_stream, never, app_stream, answering=answering))
        yield platform_stream


async def odd_text(platform: Bare) -> None:
    await platform.say("no JSON")


async def audio_first(platform: Bare) -> None:
    await platform.say(bytes(320))


async def unusable_rate(platform: Bare) -> None:
    await platform.say('{"sampleRate":44100}')


async def broken_frame(platform: Bare) -> None:
    await platform.stream.send_all(b"\x82\x02hi")


async def nothing(platform: Bare) -> None:
    pass


async def leaves(platform: Bare) -> None:
    platform.wire.close(1000)
    await platform.flush()


async def vanishes(platform: Bare) -> None:
    await trio.aclose_forcefully(platform.stream)


LOST: Final[dict[Callable[[Bare], Awaitable[None]], str]] = {
    odd_text: "this text is not valid JSON",
    audio_first: "LP-META-",
    unusable_rate: "LP-META-",
    broken_frame: "RFC 6455 5.1",
    nothing: "no metadata within 10 s",
    leaves: "the platform closed (1000) without sending metadata",
    vanishes: "connection lost",
}


@pytest.mark.parametrize(("what", "why"), LOST.items(), ids=[what.__name__ for what in LOST])
@virtual
async def test_it_is_told_once_with_the_reason(
    what: Callable[[Bare], Awaitable[None]], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    lost: Lost = []
    answering = Answering(on_lost=lambda session, why: lost.append((session, why)))
    async with served(answering) as stream:
        platform = await bare_platform(stream)
        await what(platform)
        if what is not vanishes:
            await platform.closing()
            await platform.flush()
    ((session, told),) = lost
    assert why in told
    assert session.request is not None and session.request.path == "/"
    assert session.metadata is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == f"call: {told}"
    assert record.is_call is True  # type: ignore[attr-defined]
    assert record.is_end is True  # type: ignore[attr-defined]


@virtual
async def test_a_mode_that_cannot_be_told_loses_the_call() -> None:
    def mode(request: Request | None, metadata: Metadata) -> Mode:
        raise KeyError("mode")

    lost: list[str] = []
    answering = Answering(mode=mode, on_lost=lambda session, why: lost.append(why))
    async with served(answering) as stream:
        platform = await bare_platform(stream)
        await platform.say("{}")
        assert (await platform.closing()).code == 1011
        await platform.flush()
    assert lost == ["this end failed (KeyError)"]


async def asks_for_health(stream: trio.abc.Stream) -> None:
    await stream.send_all(b"GET /alive HTTP/1.1\r\nHost: a\r\n\r\n")


async def scans(stream: trio.abc.Stream) -> None:
    await stream.send_all(b"\x16\x03\x01 hello")


async def is_refused(stream: trio.abc.Stream) -> None:
    await asking(stream, "/else").flush()


async def says_nothing(stream: trio.abc.Stream) -> None:
    pass


async def is_answered_500(stream: trio.abc.Stream) -> None:
    await asking(stream).flush()


NO_CALLS = [asks_for_health, scans, is_refused, says_nothing, is_answered_500]


@pytest.mark.parametrize("what", NO_CALLS, ids=[what.__name__ for what in NO_CALLS])
@virtual
async def test_what_was_not_accepted_is_no_call(
    what: Callable[[trio.abc.Stream], Awaitable[None]],
) -> None:
    def no_tap(session: AppSession) -> Tap:
        raise OSError("disk full")

    lost: Lost = []
    answering = Answering(
        policy=HandshakePolicy(paths={"/"}, health_path="/alive"),
        on_lost=lambda session, why: lost.append((session, why)),
        tap=no_tap if what is is_answered_500 else None,
    )
    async with served(answering) as stream:
        await what(stream)
        await wait_all_tasks_blocked()
        await stream.aclose()
    assert lost == []


@virtual
async def test_who_is_told_may_fail_and_the_call_is_closed_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(session: AppSession, why: str) -> None:
        raise OSError("disk full")

    async with served(Answering(on_lost=fail)) as stream:
        platform = await bare_platform(stream)
        await platform.say("no JSON")
        assert (await platform.closing()).code == 1007
        await platform.flush()
    failed, ended = caplog.records
    assert (failed.levelno, failed.getMessage()) == (logging.ERROR, "call: on_lost failed")
    assert failed.exc_info and str(failed.exc_info[1]) == "disk full"
    assert ended.levelno == logging.WARNING
