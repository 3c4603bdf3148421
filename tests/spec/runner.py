"""Runs a vector against the observer, the session of its vantage, and the wire if it has bytes.

It returns the differences from what the vector says: none, if all is well.
"""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from functools import partial
from typing import Any, Final

import attrs
from wsproto.utilities import generate_accept_token

from listenproto import (
    SUBPROTOCOL,
    Accepted,
    AppConnection,
    AppLimits,
    AppSession,
    Audio,
    Close,
    Closed,
    Dtmf,
    HandshakePolicy,
    Heard,
    ListenTask,
    ListenVerb,
    LocalProtocolError,
    Mark,
    MarkEvent,
    Message,
    Metadata,
    Mode,
    ModeOf,
    Observer,
    Payload,
    Peer,
    PlatformConnection,
    PlayAudio,
    PlaybackDone,
    Rejected,
    RemoteProtocolError,
    Request,
    UnknownMessage,
    VerbError,
    Violation,
    judge_request,
    judge_upgrade,
    judge_verb,
)
from listenproto._l16 import flicks_of, samples_in
from listenproto._messages import ROWS
from listenproto._profile import PROFILES
from listenproto._rules import PeerState
from listenproto._wire import ClientWire, ServerWire, Wire
from listenproto.codec import decode, decode_opening, encode
from tests.spec import Vector

Failures = Iterator[str]
LOST: Final = "lost"
REPORTED: Final = ("LP-AUD-5", "LP-STRM-5")
"""What an end tells though it is no breach; `events` says where."""
OPENING: Final = Peer.PLATFORM, PeerState.START


def run(vector: Vector) -> list[str]:
    """Whatever goes otherwise than the vector says, against all that it can be run against."""
    return [*judged(vector), *performed(vector)]


def judged(vector: Vector, *, without: Container[str] = ()) -> list[str]:
    """Where the observer, with some rules switched off, names other breaches than the vector."""
    judges: dict[str, Callable[[Vector, Container[str]], Failures]] = {
        "conversation": _judge_conversation,
        "upgrade": _judge_upgrade,
    }
    return [*judges[vector["kind"]](vector, without)] if vector["kind"] in judges else []


def performed(vector: Vector) -> list[str]:
    """Where our own peer does otherwise than the vector says."""
    performers: dict[str, Callable[[Vector], Failures]] = {
        "conversation": _perform_conversation,
        "upgrade": _perform_upgrade,
        "framing": _perform_framing,
        "verb": _perform_verb,
    }
    return [*performers[vector["kind"]](vector)]


# What a vector is written in.


def verb_of(vector: Vector) -> ListenVerb:
    """The verb of a conversation; a mode alone stands for the plainest verb that has it."""
    if "verb" in vector:
        return ListenVerb.from_json(vector["verb"])
    mode = Mode(vector["mode"])
    way: dict[str, Any] = {"enabled": mode is not Mode.OFF, "streaming": mode is Mode.STREAMING}
    if mode is Mode.STREAMING:
        way["sampleRate"] = 8000
    return ListenVerb.from_json(
        {"url": "ws://app.example/", "passDtmf": True, "bidirectionalAudio": way}
    )


def mode_of(vector: Vector) -> Mode:
    nested = vector.get("options", {}).get("nestedInDial", False)
    return verb_of(vector).mode(nested_in_dial=nested)


def payload_of(step: dict[str, Any]) -> Payload | str:
    """The WebSocket message of a step, or that the connection is lost."""
    if "json" in step:
        return json.dumps(step["json"], separators=(",", ":"))
    if "text" in step:
        text = step["text"]
        assert isinstance(text, str)
        return text
    if "close" in step:
        return Close(step["close"], step.get("reason", ""))
    return audio_of(step)


def audio_of(step: dict[str, Any]) -> bytes:
    """Audio in base64, or so many bytes of silence."""
    return base64.b64decode(step["audio"]) if "audio" in step else bytes(step["bytes"])


def clauses(violations: Iterable[object]) -> list[str]:
    return [violation.clause for violation in violations if isinstance(violation, Violation)]


def shown(event: object) -> dict[str, Any]:
    """An event as vectors write it."""
    for row in ROWS:
        if row.is_bare and isinstance(event, row.kind):
            return {"is": row.name}
    if isinstance(event, Violation):
        return {"is": "violation", "requirement": event.clause}
    if isinstance(event, Metadata):
        front = {"sampleRate": event.sample_rate, "mixType": event.mix_type.value}
        more = {"truncated": event.truncated, "attributes": dict(event.attributes)}
        return {"is": "metadata", **front, **more}
    if isinstance(event, Audio):
        audio = base64.b64encode(event.pcm).decode()
        return {"is": "audio", "audio": audio, "bytes": len(event.pcm)}
    if isinstance(event, Dtmf):
        return {"is": "dtmf", "dtmf": event.digit, "duration": event.duration}
    if isinstance(event, PlaybackDone):
        answer = event.message
        if isinstance(answer, MarkEvent):
            return {"is": "mark", "name": answer.name, "event": answer.event}
        return {"is": "playDone", "id": event.name, "guessed": event.guessed}
    if isinstance(event, Mark):
        return {"is": "mark", "name": event.name}
    if isinstance(event, PlayAudio):
        return {"is": "playAudio", "id": event.id}
    if isinstance(event, UnknownMessage):
        return {"is": "unknown", "type": event.type}
    assert isinstance(event, Close), event
    return {"is": "close", "code": event.code}


def heard_of(pieces: Iterable[Heard], rate: int) -> list[dict[str, Any]]:
    """What was heard, in as few pieces as can be, as vectors write it; places are at ``rate``."""
    joined: list[Heard] = []
    for piece in pieces:
        if joined and joined[-1].rate == piece.rate and joined[-1].end == piece.start:
            last = joined.pop()
            piece = Heard(last.pcm + piece.pcm, last.rate, last.start)
        joined.append(piece)
    return [
        {
            "at": samples_in(piece.start, rate),
            "rate": piece.rate,
            "bytes": len(piece.pcm),
            "audio": base64.b64encode(piece.pcm).decode(),
        }
        for piece in joined
    ]


def fits(wanted: list[dict[str, Any]], found: list[dict[str, Any]]) -> bool:
    """Whether the same came, as far as the vector says what."""
    return len(wanted) == len(found) and all(
        want.items() <= find.items() for want, find in zip(wanted, found, strict=True)
    )


# Conversations.


def _judge_conversation(vector: Vector, without: Container[str]) -> Failures:
    profile = PROFILES[vector.get("profile", "documented")]
    limits = vector.get("limits", {})
    observer = Observer(
        verb_of(vector),
        mode=mode_of(vector),
        profile=profile,
        vantage=Peer(vector["vantage"]),
        limits=AppLimits(
            clips=limits.get("clips"),
            marks=limits.get("marks"),
            safe_mark_names=limits.get("safeMarkNames", False),
            safe_clip_ids=limits.get("safeClipIds", False),
        ),
        without=without,
    )
    for number, step in enumerate(vector["steps"]):
        if "from" not in step:
            continue
        sender = Peer(step["from"])
        for repeated in reversed(range(step.get("times", 1))):
            found: list[Violation] = []
            for message in _messages(vector, step, sender, observer) if LOST not in step else []:
                found += observer.see(sender, message)
            wanted = [] if repeated else step.get("violates", [])
            if clauses(found) != wanted:
                yield f"step {number}: the observer names {[*map(str, found)]}, not {wanted}"


def _messages(
    vector: Vector, step: dict[str, Any], sender: Peer, observer: Observer
) -> list[Message]:
    payload = payload_of(step)
    if isinstance(payload, Close):
        return [payload]
    if (sender, observer.states[sender]) == OPENING:
        salvage = vector.get("options", {}).get("salvage", False)
        return decode_opening(payload, salvage=salvage, assume=_assumed(vector))
    rate = PROFILES[vector.get("profile", "documented")].string_sample_rate
    return decode(payload, sender, string_sample_rate=rate)


def _assumed(vector: Vector) -> Metadata | None:
    assume = vector.get("options", {}).get("assume")
    return None if assume is None else Metadata({}, assume["sampleRate"], assume["mixType"])


def _perform_conversation(vector: Vector) -> Failures:
    if vector["vantage"] == "app":
        yield from _perform_app(vector)
    else:
        yield from _perform_platform(vector)


def _events(number: int, step: dict[str, Any], events: Iterable[object]) -> Failures:
    # What ended without a word of the platform is between this app and its record.
    found = [shown(e) for e in events if not (isinstance(e, PlaybackDone) and e.message is None)]
    told = [event["requirement"] for event in found if event["is"] == "violation"]
    named = [clause for clause in told if clause not in REPORTED]
    if named != step.get("violates", []):
        yield f"step {number}: it reports {named}, not {step.get('violates', [])}"
    if "events" in step and not fits(step["events"], found):
        yield f"step {number}: the events are {found}"


def _refused(send: Callable[[], object], clause: str | None, number: int) -> Failures:
    """That something cannot be sent, for it would break that requirement; None: or another."""
    try:
        send()
    except LocalProtocolError as error:
        if clause not in (None, error.clause):
            yield f"step {number}: refused by {error}, not by {clause}"
    else:
        yield f"step {number}: it can be sent, although it breaks {clause}"


def _perform_app(vector: Vector) -> Failures:
    limits = vector.get("limits", {})
    known: dict[str, Any] = {"mode": _told_once(mode_of(vector))}
    if "verb" in vector:
        known = {"verb": verb_of(vector), "mode": mode_of(vector)}
    app = AppSession(
        **known,
        profile=PROFILES[vector.get("profile", "documented")],
        max_clips=limits.get("clips"),
        max_marks=limits.get("marks"),
        safe_mark_names=limits.get("safeMarkNames", False),
        safe_clip_ids=limits.get("safeClipIds", False),
        raw_as_wav=False,
        queue_clips=False,
        salvage_metadata=vector.get("options", {}).get("salvage", False),
        assume=_assumed(vector),
    )
    for number, step in enumerate(vector["steps"]):
        payload = payload_of(step) if LOST not in step else b""
        for repeated in reversed(range(step.get("times", 1))):
            last = step if not repeated else {}
            if step["from"] == "app":
                if "violates" in last and not isinstance(payload, Close):
                    yield from _refused(partial(_say, app, payload), last["violates"][0], number)
                    return
                yield from _said(app, payload, number)
                continue
            try:
                if LOST in step:
                    events: list[Any] = [*app.connection_lost()]
                elif isinstance(payload, Close):
                    events = [*app.closed(payload.code, payload.reason)]
                else:
                    events = [*app.receive(payload)]
            except RemoteProtocolError as error:
                if [error.clause] != last.get("violates") or error.close_code != last.get("fatal"):
                    yield f"step {number}: it fails by {error}, to close with {error.close_code}"
            else:
                yield from _events(number, last, events)
                if "fatal" in last:
                    yield f"step {number}: it goes on"


def _told_once(mode: Mode) -> ModeOf:
    """The mode, which only metadata that is taken is asked for (LP-META-4)."""
    left = [mode]
    return lambda request, metadata: left.pop()


def _said(app: AppSession, payload: Payload, number: int) -> Failures:
    """That our app can send a message, and sends it so; our app gives each clip an id."""
    if isinstance(payload, Close) and app.ended:
        return  # the answer to a close is the WebSocket's
    try:
        _say(app, payload)
    except LocalProtocolError as error:
        yield f"step {number}: it cannot be sent: {error}"
        return
    sent = [*app.data_to_send()]
    if isinstance(payload, Close):
        wanted: list[Message] = [payload]
        found: list[Message] = [close for close in sent if isinstance(close, Close)]
    else:
        wanted = decode(payload, Peer.APP)
        found = [m for p in sent if not isinstance(p, Close) for m in decode(p, Peer.APP)]
    named = [
        attrs.evolve(new, id=old.id)
        if isinstance(new, PlayAudio) and isinstance(old, PlayAudio) and not old.id
        else new
        for new, old in zip(found, wanted, strict=False)
    ]
    if len(found) != len(wanted) or named != wanted:
        yield f"step {number}: it sends {found}"


def _say(app: AppSession, payload: Payload) -> None:
    if isinstance(payload, Close):
        app.close(payload.code, payload.reason)
        return
    for message in decode(payload, Peer.APP):
        encode(message, Peer.APP)
        app.send(message)


class _Platform:
    """Our platform's end, and what it has sent that no step has asked for yet."""

    def __init__(self, vector: Vector) -> None:
        options = vector.get("options", {})
        self.verb = verb_of(vector)
        self.task = ListenTask(
            self.verb,
            vector.get("attributes", {}),
            profile=PROFILES[vector.get("profile", "documented")],
            nested_in_dial=options.get("nestedInDial", False),
            silence=options.get("silence", 256),
            max_seconds=options.get("bufferSeconds", 3600),
        )
        self.sent: deque[Payload] = deque()

    def next_sent(self) -> Payload | None:
        self.sent += self.task.data_to_send()
        return self.sent.popleft() if self.sent else None

    def act(self, step: dict[str, Any]) -> list[dict[str, Any]]:
        """Do what a step says that is no message; gives what is heard."""
        if "play" in step:
            rate = self.verb.sample_rate
            return heard_of(self.task.play(flicks_of(step["play"], step.get("rate", rate))), rate)
        if "capture" in step:
            self.task.capture(audio_of(step["capture"]))
        elif "key" in step:
            self.task.key(step["key"], duration=step.get("duration", 800))
        elif "pause" in step:
            self.task.pause(silence=step["pause"] == "silence")
        elif "resume" in step:
            self.task.resume()
        else:
            assert step["hangUp"]
            self.task.hang_up()
        return []

    def take(self, step: dict[str, Any]) -> list[object]:
        if LOST in step:
            return [*self.task.connection_lost()]
        payload = payload_of(step)
        if isinstance(payload, Close):
            return [*self.task.closed(payload.code, payload.reason)]
        return [*self.task.receive(payload)]


def _perform_platform(vector: Vector) -> Failures:
    steps = vector["steps"]
    platform = _Platform(vector)
    breaks_at_once = steps[0].get("from") == "platform" and "violates" in steps[0]
    if not breaks_at_once:
        platform.task.connected()
    for number, step in enumerate(steps):
        if "from" not in step:
            heard = platform.act(step)
            if "heard" in step and not fits(step["heard"], heard):
                yield f"step {number}: heard is {heard}"
            continue
        for repeated in reversed(range(step.get("times", 1))):
            last = step if not repeated else {}
            if step["from"] == "app":
                closed = platform.task.session.ended
                events = platform.take(step)
                if not closed:
                    yield from _events(number, last, events)
                elif "close" not in step:
                    yield from _events(number, {"events": []}, events)  # LP-END-7
            elif "violates" in last:
                yield from _breach(platform, number, step)
                return
            else:
                yield from _sent(platform.next_sent(), number, step)
    left = platform.next_sent()
    if left is not None:
        yield f"at the end it also sends {left!r}"
    yield from _result(vector, platform.task)


def _sent(sent: Payload | None, number: int, step: dict[str, Any]) -> Failures:
    payload: Any = payload_of(step)
    if "json" in step and isinstance(sent, str):
        try:
            if json.loads(sent) == step["json"]:
                return
        except ValueError:
            pass
    if sent != payload:
        yield f"step {number}: it sends {sent!r}"


def _breach(platform: _Platform, number: int, step: dict[str, Any]) -> Failures:
    """That our platform cannot be made to send what breaks a requirement."""
    payload = payload_of(step)
    session = platform.task.session
    if isinstance(payload, Close):
        if session.observer.states[Peer.PLATFORM] is not PeerState.CLOSED:
            return  # what is wrong is what came before
        if platform.next_sent() == payload:
            yield f"step {number}: it closes so"
        return
    opening = session.observer.states[Peer.PLATFORM] is PeerState.START
    message = (decode_opening(payload) if opening else decode(payload, Peer.PLATFORM))[0]

    def send() -> None:
        encode(message, Peer.PLATFORM)
        session.send(message)

    # Where it has done what is right instead there may be more to be said against it.
    elsewhere = session.ended or platform.next_sent() is not None
    yield from _refused(send, None if elsewhere else step["violates"][0], number)


def _result(vector: Vector, task: ListenTask) -> Failures:
    if "result" not in vector:
        return
    wanted = vector["result"]
    if wanted is None or task.result is None:
        if wanted is not None or task.result is not None:
            yield f"the result is {task.result}"
        return
    found = {
        "end": task.result.end.value,
        "duration": task.result.duration,
        "digits": task.result.digits,
        "actionHook": task.result.action_hook(),
    }
    if not wanted.items() <= found.items():
        yield f"the result is {found}"


# Upgrades.


def _policy(vector: Vector) -> HandshakePolicy:
    policy = vector.get("policy", {})
    credentials = policy.get("credentials")
    return HandshakePolicy(
        paths=policy.get("paths"),
        subprotocols=tuple(policy.get("subprotocols", HandshakePolicy().subprotocols)),
        allow_no_subprotocol=policy.get("allowNoSubprotocol", False),
        credentials=tuple(credentials) if credentials else None,
        health_path=policy.get("healthPath"),
        max_calls=policy.get("maxCalls"),
    )


def _request(vector: Vector) -> Request:
    wire = ServerWire()
    wire.feed(vector["request"].encode("latin-1"))
    (request,) = wire.events()
    assert isinstance(request, Request)
    return request


def _answer(text: str) -> Accepted | Rejected:
    """An answer's head and body, whatever they say."""
    head, _, body = text.partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    pairs = [line.split(":", 1) for line in lines]
    headers = tuple((name.lower(), value.strip()) for name, value in pairs)
    if status.split()[1] == "101":
        answer = Accepted(None, headers)
        return Accepted(answer.header("sec-websocket-protocol"), headers)
    return Rejected(int(status.split()[1]), headers, body.encode())


def _accept_token(request: Request) -> str:
    key = request.header("sec-websocket-key") or ""
    return generate_accept_token(key.encode()).decode()


def _judge_upgrade(vector: Vector, without: Container[str]) -> Failures:
    found = _breaches(vector, without)
    if clauses(found) != vector["violates"]:
        yield f"the observer names {[*map(str, found)]}, not {vector['violates']}"


def _breaches(vector: Vector, without: Container[str] = ()) -> list[Violation]:
    request = _request(vector)
    answer = vector.get("answer", "").replace("{accept}", _accept_token(request))
    return judge_upgrade(
        request,
        _answer(answer) if answer else None,
        verb=ListenVerb.from_json(vector["verb"]) if "verb" in vector else None,
        subprotocols=vector.get("offers", [SUBPROTOCOL]),
        policy=_policy(vector),
        open_calls=vector.get("openCalls", 0),
        without=without,
    )


def _perform_upgrade(vector: Vector) -> Failures:
    if "answer" in vector:
        yield from _perform_answer(vector)
    if "verb" in vector and not vector["violates"]:
        yield from _perform_request(vector)
    if "platform" in vector:
        yield from _perform_reaction(vector)


def _perform_answer(vector: Vector) -> Failures:
    """That our app answers as the vector does, where that breaks nothing."""
    if any(breach.sender is Peer.APP for breach in _breaches(vector)):
        return
    app = AppConnection(AppSession())
    for byte in vector["request"].encode("latin-1"):
        for event in app.receive(bytes([byte])):
            assert isinstance(event, Request)
            verdict = judge_request(event, _policy(vector), open_calls=vector.get("openCalls", 0))
            app.answer(verdict)
    ours = _answer(app.data_to_send().decode())
    wanted = _answer(vector["answer"])
    if type(ours) is not type(wanted):
        yield f"our app answers {ours}"
    elif isinstance(wanted, Accepted) and isinstance(ours, Accepted):
        if ours.subprotocol != wanted.subprotocol:
            yield f"our app names {ours.subprotocol}"
    elif isinstance(wanted, Rejected) and isinstance(ours, Rejected):
        said = ours.body.decode()
        if ours.status != wanted.status or not all(s in said for s in vector.get("bodyHas", [])):
            yield f"our app answers {ours.status} {said}"
    for name, value in wanted.headers:
        told = ours.header(name)
        if value != "{accept}" and name != "content-length" and told != value:
            yield f"our app's {name} is {told}"


def _perform_request(vector: Vector) -> Failures:
    """That our platform asks as the vector does."""
    task = ListenTask(ListenVerb.from_json(vector["verb"]), {})
    wire = ServerWire()
    offers = vector.get("offers", [SUBPROTOCOL])
    wire.feed(PlatformConnection(task, subprotocols=offers).data_to_send())
    (ours,) = wire.events()
    wanted = _request(vector)
    assert isinstance(ours, Request)
    for name in ("method", "resource"):
        if getattr(ours, name) != getattr(wanted, name):
            yield f"our platform's {name} is {getattr(ours, name)}"
    for name, value in wanted.headers:
        told = ours.header(name)
        if name != "sec-websocket-key" and told != value:
            yield f"our platform's {name} is {told}"


def _perform_reaction(vector: Vector) -> Failures:
    """What our platform makes of the answer."""
    verb = ListenVerb(url="ws://app.example/")
    task = ListenTask(verb, {}, profile=PROFILES[vector.get("profile", "documented")])
    connection = PlatformConnection(task, subprotocols=_request(vector).subprotocols)
    (request,) = _events_of(ServerWire(), connection.data_to_send())
    assert isinstance(request, Request)
    answer = vector["answer"].replace("{accept}", _accept_token(request)).encode("latin-1")
    try:
        events = [*connection.receive(answer + bytes.fromhex(vector.get("behind", "")))]
    except RemoteProtocolError:
        events = []
    accepted = any(isinstance(event, Accepted) for event in events)
    if accepted is not (vector["platform"] == "accepts"):
        yield f"our platform {'accepts' if accepted else 'fails'}: {events}"
    elif "events" in vector and not fits(vector["events"], [*map(shown, events[1:])]):
        yield f"our platform reads {events[1:]}"


def _events_of(wire: Wire, data: bytes) -> list[Any]:
    wire.feed(data)
    return [*wire.events()]


# Framing.


def _open_wires() -> tuple[ServerWire, ClientWire]:
    server, client = ServerWire(), ClientWire("app.example")
    server.feed(client.data_to_send())
    assert [type(event) for event in server.events()] == [Request]
    server.accept()
    client.feed(server.data_to_send())
    assert [type(event) for event in client.events()] == [Accepted]
    return server, client


def _perform_framing(vector: Vector) -> Failures:
    if "send" in vector:
        yield from _perform_sending(vector)
        return
    data = bytes.fromhex(vector["bytes"])
    whole = [data]
    for chunks in (whole, [data[i : i + 1] for i in range(len(data))]):
        server, client = _open_wires()
        wire = server if vector["receiver"] == "app" else client
        if vector.get("end"):
            chunks = [*chunks, b""]
        yield from _received(vector, wire, chunks)


def _received(vector: Vector, wire: Wire, chunks: list[bytes]) -> Failures:
    events: list[Any] = []
    error = None
    try:
        for chunk in chunks:
            wire.feed(chunk)
            events += wire.events()
    except RemoteProtocolError as exc:
        error = {"requirement": exc.clause, "close": exc.close_code}
    if error != vector.get("fails"):
        yield f"fed {len(chunks)} pieces it fails by {error}"
    messages = [event for event in events if isinstance(event, str | bytes)]
    wanted = [payload_of(message) for message in vector.get("messages", [])]
    if messages != wanted:
        yield f"fed {len(chunks)} pieces the messages are {messages!r:.200}"
    closes = [event for event in events if isinstance(event, Closed)]
    ended = [{"code": event.code, "clean": event.clean} for event in closes]
    if ended != ([vector["closed"]] if "closed" in vector else []):
        yield f"fed {len(chunks)} pieces it ends {ended}"
    if "answers" in vector:
        frames = [*_frames(wire.data_to_send())]
        if not fits(vector["answers"], frames):
            yield f"fed {len(chunks)} pieces it answers {frames}"


def _perform_sending(vector: Vector) -> Failures:
    server, client = _open_wires()
    wire = server if vector["sender"] == "app" else client
    payload = payload_of(vector["send"])
    if isinstance(payload, Close):
        wire.close(payload.code, payload.reason)
    else:
        wire.send(payload)
    frames = [*_frames(wire.data_to_send())]
    if not fits(vector["frames"], frames):
        yield f"the frames are {frames}"


def _frames(data: bytes) -> Iterator[dict[str, Any]]:
    """What the bytes are as frames (RFC 6455, 5.2), unmasked."""
    while data:
        masked, length, at = bool(data[1] & 0x80), data[1] & 0x7F, 2
        if length > 125:
            size = 2 if length == 126 else 8
            length, at = int.from_bytes(data[2 : 2 + size], "big"), 2 + size
        mask = data[at : at + 4] if masked else bytes(4)
        at += 4 * masked
        body = bytes(b ^ mask[i % 4] for i, b in enumerate(data[at : at + length]))
        yield {
            "fin": bool(data[0] & 0x80),
            "reserved": data[0] >> 4 & 7,
            "opcode": data[0] & 0x0F,
            "masked": masked,
            "length": length,
            "payload": body.hex(),
        }
        data = data[at + length :]


# Verbs.


def _perform_verb(vector: Vector) -> Failures:
    try:
        verb = ListenVerb.from_json(vector["verb"])
    except VerbError as error:
        if error.option != vector.get("refused"):
            yield f"it is refused: {error}"
        return
    if "refused" in vector:
        yield "it is taken"
    warnings = judge_verb(verb, vector.get("profile", "documented"))
    warned = [warning.clause for warning in warnings]
    if warned != vector.get("warns", warned):
        yield f"it is warned of {warned}"
    unusable = any(warning.fatal for warning in warnings)
    if unusable is not vector.get("unusable", unusable):
        yield f"a call can{'not' if unusable else ''} come of it"
    found = {
        "mode": verb.mode(nested_in_dial=vector.get("nestedInDial", False)).value,
        "websocketUrl": None if verb.url.startswith("/") else verb.websocket_url,
        "sampleRate": verb.sample_rate,
        "streamRate": None,
        "channels": verb.channels,
    }
    if found["mode"] == "streaming":
        found["streamRate"] = verb.stream_rate
    if not vector.get("is", {}).items() <= found.items():
        yield f"it is {found}"
