"""Our ends of a call, in every state, for tests with hostile peers.

An end is the application's or the platform's. A hostile peer is the bytes that it sends. A recorded
call holds all bytes that two ends of our own sent to each other, one piece per direction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias
from unittest import mock

from listenproto import (
    DOCUMENTED,
    FLICKS,
    Accepted,
    AppConnection,
    AppSession,
    Audio,
    BidirectionalAudio,
    ClearMarks,
    Closed,
    ConnectionEvent,
    Disconnect,
    HandshakePolicy,
    KillAudio,
    ListenTask,
    ListenVerb,
    Mark,
    Message,
    Metadata,
    Mode,
    PlatformConnection,
    PlayAudio,
    PlaybackDone,
    Profile,
    RemoteProtocolError,
    Request,
    Violation,
    judge_request,
)
from listenproto._wav import wav_header
from tests.wire_support import KEY, open_client, open_server, take

End: TypeAlias = AppConnection | PlatformConnection
Outcome: TypeAlias = list[ConnectionEvent | tuple[str, str, int]]

STEP: Final = FLICKS // 50

SAID: Final[dict[Mode, tuple[Message, ...]]] = {
    Mode.STREAMING: (
        Mark("at once"),
        Audio(bytes(range(160)) * 2),
        Mark("forgotten"),
        ClearMarks(),
        Audio(bytes(40)),
        Mark("a"),
        Audio(bytes(400)),
        Mark("b"),
    ),
    Mode.CLIPS: (
        PlayAudio(bytes(16), sample_rate=8000),
        PlayAudio(wav_header(8, 16000, 2) + bytes(8), "wav"),
        PlayAudio(bytes(900), sample_rate=8000),
    ),
    Mode.OFF: (),
}
"""What an app says as soon as it has read the metadata, in any call of that mode."""

KILLED: Final = {mode: (*said, KillAudio()) if said else () for mode, said in SAID.items()}
"""As SAID, and at once the end of it: whatever becomes of these clips and marks is legal then."""


def an_app(mode: Mode = Mode.STREAMING, **limits: Any) -> AppConnection:
    return AppConnection(AppSession(mode=mode), **limits)


def a_task(
    mode: Mode = Mode.STREAMING, profile: Profile = DOCUMENTED, **options: Any
) -> ListenTask:
    way = BidirectionalAudio(
        enabled=mode is not Mode.OFF,
        streaming=mode is Mode.STREAMING,
        sample_rate=8000 if mode is Mode.STREAMING else None,
    )
    verb = ListenVerb(url="ws://app.example/", pass_dtmf=True, bidirectional_audio=way)
    return ListenTask(verb, {"callSid": "c"}, profile=profile, **options)


def a_platform(mode: Mode = Mode.STREAMING, **limits: Any) -> PlatformConnection:
    """Always of one key, so that an answer on record fits it."""
    with mock.patch("listenproto._wire.generate_nonce", return_value=KEY.encode()):
        return PlatformConnection(a_task(mode), **limits)


class Driven:
    """An end and who drives it: what it has seen, what it has sent, the error that ended it.

    An app answers the request, unless it ``stalls``, and says ``said`` as soon as it has read the
    metadata.
    """

    def __init__(self, end: End, said: Iterable[Message] = (), *, stalls: bool = False) -> None:
        self.end = end
        self._said = said
        self._stalls = stalls
        self.saw: Outcome = []
        self.sent = b""
        self.error: RemoteProtocolError | None = None
        self.write()

    def write(self) -> None:
        while data := self.end.data_to_send():
            self.sent += data

    def take(self, *chunks: bytes, writes: bool = True) -> None:
        """Feed chunks and act on what they mean; an error must be the same for ever."""
        for chunk in chunks:
            try:
                for event in self.end.receive(chunk):
                    assert self.error is None
                    if not (isinstance(event, PlaybackDone) and event.message is None):
                        self.saw.append(event)  # else no bytes told of that
                    self._act(event)
            except RemoteProtocolError as error:
                if self.error is None:
                    self.error = error
                    self.saw.append((str(error), error.clause, error.close_code))
                assert error is self.error
            if writes:
                self.write()

    def _act(self, event: ConnectionEvent) -> None:
        if isinstance(self.end, AppConnection):
            if isinstance(event, Request) and not self._stalls:
                self.end.answer(judge_request(event, HandshakePolicy()))
            elif isinstance(event, Metadata) and not self.end.ended:
                for message in self._said:
                    self.end.send(message)

    def finish(self) -> None:
        """Answer the error, if there is one: whatever came, a legal close can still be sent."""
        self.write()
        closed = self._close_sent()
        if self.error is not None:
            assert self.end.finished
            self.end.fail(self.error)
            assert self.end.ended
            self.write()
            if closed is None and self._upgraded():
                closed = self._close_sent()
                assert closed is not None
                assert closed.code == self.error.close_code
        assert self.end.ended or self.end.waiting == 0

    def _upgraded(self) -> bool:
        return self.sent.startswith(b"HTTP/1.1 101") or any(
            isinstance(event, Accepted) for event in self.saw
        )

    def _close_sent(self) -> Closed | None:
        """The close that this end has sent; a wire judges that all in front of it is legal."""
        peer = open_client() if isinstance(self.end, AppConnection) else open_server()
        _, _, frames = self.sent.partition(b"\r\n\r\n")
        if not self._upgraded():
            return None
        for event in take(peer, frames) if frames else []:
            if isinstance(event, Closed):
                return event
        return None


def outcome(driven: Driven, chunks: Iterable[bytes], *, writes: bool = True) -> Outcome:
    """All that bytes come to, the error at their end included."""
    driven.take(*chunks, writes=writes)
    driven.finish()
    return driven.saw


def recorded(mode: Mode) -> tuple[bytes, bytes]:
    """A whole call with something of everything: the platform's bytes, then the app's."""
    here, there = an_app(mode), a_platform(mode)
    app, platform = Driven(here, SAID[mode]), Driven(there)
    task = there.task
    up = down = 0

    def exchange() -> None:
        nonlocal up, down
        while up < len(platform.sent) or down < len(app.sent):
            said, answered = platform.sent[up:], app.sent[down:]
            up, down = len(platform.sent), len(app.sent)
            app.take(*filter(None, [said]))
            platform.take(*filter(None, [answered]))

    def say(*steps: Callable[[], object]) -> None:
        for step in steps:
            step()
        app.write()
        platform.write()
        exchange()

    say()
    say(lambda: task.capture(bytes(range(160)) * 2), lambda: task.key("5"))
    say(there.ping, here.ping)
    say(lambda: task.play(STEP))
    if mode is not Mode.OFF:
        say(lambda: here.send(KillAudio()))
    say(lambda: here.send(Disconnect()))
    for driven in (app, platform):
        assert driven.saw[-1] == Closed(1000, "", clean=True)
        assert not [event for event in driven.saw if isinstance(event, Violation | tuple)]
    return platform.sent, app.sent


CALLS: Final = {mode: dict(zip(("app", "platform"), recorded(mode), strict=True)) for mode in Mode}
"""What such calls have said to the end of each role."""

MASKS: Final = {"app": b"mask", "platform": b""}
"""Of a legal frame to the end of that role."""

HEADS: Final = {
    role: CALLS[Mode.STREAMING][role].partition(b"\r\n\r\n")[0] + b"\r\n\r\n" for role in MASKS
}
"""What opens it."""
