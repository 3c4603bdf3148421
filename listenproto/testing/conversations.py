"""Hypothesis strategies for whole conversations as they pass at one end, legal and broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final, TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from listenproto._app_session import AppSession
from listenproto._choices import member
from listenproto._errors import LocalProtocolError
from listenproto._l16 import FLICKS
from listenproto._messages import (
    Audio,
    Close,
    Disconnect,
    Dtmf,
    KillAudio,
    Malformed,
    Mark,
    MarkEvent,
    Message,
    Metadata,
    Mode,
    Peer,
    PlayAudio,
    PlayDone,
)
from listenproto._observer import Observer
from listenproto._profile import DOCUMENTED, Profile, profile_of
from listenproto._rules import MODES, PeerState
from listenproto._task import ListenTask
from listenproto._terms import DIGITS
from listenproto._verb import ListenVerb
from listenproto._violation import Violation
from listenproto.testing.exchange import Exchange
from listenproto.testing.messages import app_messages

__all__ = ["Conversation", "broken_conversations", "conversations"]

Conversation: TypeAlias = list[tuple[Peer, Message]]
"""Who sent what, in the order in which it passed at one end."""


def conversations(
    verb: ListenVerb, *, vantage: Peer | str, profile: Profile | str = DOCUMENTED
) -> SearchStrategy[Conversation]:
    """Legal conversations, from the open WebSocket on, as they pass at the end of ``vantage``.

    They may stop anywhere; the last messages of either end may not have arrived. Raises ValueError
    for a peer or a profile that does not exist.
    """
    return _conversations(verb, member(Peer, vantage, "vantage"), profile_of(profile))


def broken_conversations(
    verb: ListenVerb, *, vantage: Peer | str, profile: Profile | str = DOCUMENTED
) -> SearchStrategy[tuple[Conversation, str]]:
    """Conversations whose last message is the only breach, each with the clause that it breaks.

    Raises ValueError for a peer or a profile that does not exist.
    """
    return _broken_conversations(verb, member(Peer, vantage, "vantage"), profile_of(profile))


@st.composite
def _conversations(
    draw: st.DrawFn, verb: ListenVerb, vantage: Peer, profile: Profile
) -> Conversation:
    passed: Conversation = []

    def on_pass(at: Peer, sender: Peer, message: Message, found: list[Violation]) -> None:
        if at is vantage:
            passed.append((sender, message))

    app = AppSession(mode=verb.mode(), profile=profile)
    task = ListenTask(verb, {"callSid": "c"}, profile=profile)
    exchange = Exchange(app, task, verb, profile=profile, on_pass=on_pass)
    exchange.open()
    moves = st.one_of(
        st.integers(1, FLICKS // 4),
        app_messages(verb.mode()).filter(lambda message: not isinstance(message, Disconnect)),
        st.sampled_from(Peer),
        st.sampled_from(DIGITS),
    )
    last = st.sampled_from([None, Disconnect(), Close()])
    for move in [*draw(st.lists(moves, max_size=30)), draw(last)]:
        if isinstance(move, int):
            exchange.pass_time(move)
        elif isinstance(move, str):
            task.key(move)
        elif isinstance(move, Close):
            task.hang_up()
        elif isinstance(move, Peer):
            while exchange.under_way(move):
                exchange.deliver(move)
        elif move is not None and app.metadata is not None:
            with suppress(LocalProtocolError):  # what is not allowed now is not sent
                app.send(move)
        exchange.collect()
    if draw(st.booleans()):
        exchange.deliver_all()
    return passed


@st.composite
def _broken_conversations(
    draw: st.DrawFn, verb: ListenVerb, vantage: Peer, profile: Profile
) -> tuple[Conversation, str]:
    passed = draw(_conversations(verb, vantage, profile))
    passed = passed[: draw(st.integers(0, len(passed)))]
    observer = Observer(verb, profile=profile, vantage=vantage)
    for sender, message in passed:
        observer.see(sender, message)
    sender, message, clause = draw(st.sampled_from([*_breaches(observer, verb)]))
    return [*passed, (sender, message)], clause


_Breaches: TypeAlias = Iterator[tuple[Peer, Message, str]]

_NEVER: Final = "never sent, not even by chance"
_SPEECH: Final = Audio(b"\1\0\2\0")


def _breaches(observer: Observer, verb: ListenVerb) -> _Breaches:
    """What either peer may not send now, and the clause that it would break."""
    yield from _of_the_platform(observer, verb)
    yield from _of_the_app(observer, verb.mode())


def _of_the_platform(observer: Observer, verb: ListenVerb) -> _Breaches:
    state, platform = observer.states[Peer.PLATFORM], Peer.PLATFORM
    if state is PeerState.START:
        yield platform, _SPEECH, "LP-META-1"
        yield platform, Dtmf("5"), "LP-META-1"
    elif state is PeerState.OPEN:
        yield platform, Metadata(), "LP-META-4"
        yield platform, KillAudio(), "LP-ODD-1"
        yield platform, Malformed("{", "not valid JSON", "LP-ODD-2"), "LP-ODD-2"
        yield platform, PlayDone(_NEVER), "LP-CLIP-24"
        yield platform, MarkEvent(_NEVER, "playout"), "LP-MARK-9"
        if not verb.pass_dtmf:
            yield platform, Dtmf("5"), "LP-DTMF-1"
    elif state is PeerState.LEAVING:
        yield platform, _SPEECH, "LP-END-4"
        yield platform, PlayDone(), "LP-END-4"
    else:
        yield platform, _SPEECH, "LP-END-6"


def _of_the_app(observer: Observer, mode: Mode) -> _Breaches:
    state, app = observer.states[Peer.APP], Peer.APP
    clip = PlayAudio(b"\1\0", sample_rate=8000)
    if state is PeerState.START:
        yield app, KillAudio(), "LP-META-13"
        yield app, Disconnect(), "LP-META-13"
    elif state is PeerState.OPEN:
        yield app, Dtmf("5"), "LP-ODD-1"
        yield app, Malformed("[]", "not a JSON object", "LP-ODD-3"), "LP-ODD-3"
        with_body: dict[type[Message], Message] = {Audio: _SPEECH, PlayAudio: clip, Mark: Mark("m")}
        for kind, (modes, clause) in MODES.items():
            if mode not in modes:
                yield app, with_body[kind] if kind in with_body else kind(), clause
        if mode is Mode.CLIPS and observer.outstanding_clips == 0:
            yield app, PlayAudio(b"\1\0\2", sample_rate=8000), "LP-CLIP-16"
    elif state is PeerState.LEAVING:
        yield app, KillAudio(), "LP-END-1"
        yield app, Disconnect(), "LP-END-1"
    else:
        yield app, clip, "LP-END-6"
