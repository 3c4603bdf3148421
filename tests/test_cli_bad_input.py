"""What the commands are given and cannot use: one clear line each, and nothing left behind."""

from __future__ import annotations

import io
import json
import os
import random
import socket
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from listenproto._wav import wav_header
from listenproto_trio import Limits, _client
from tests.cli_support import ROOT, answering, listenproto

NOWHERE = "ws://127.0.0.1:1/"


def wav(size: int = 16000, channels: int = 1) -> bytes:
    """A WAV file at 8000 samples a second."""
    return wav_header(size, 8000, channels) + bytes(size)


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("sound.wav", wav())
    return content.getvalue()


CONVERT = "; convert it to WAV, FLAC, Ogg or MP3"
SOUNDS = {
    "cut in its header": (wav()[:30], "libsndfile cannot read this file ("),
    "empty": (b"", "it is empty"),
    "without audio": (wav(size=0), "it has no audio"),
    "without channels": (wav(channels=0), "this file (Channel count is zero)" + CONVERT),
    "M4A": (b"\0\0\0\x20ftypM4A " + bytes(100), "this MP4 or M4A file (Format not recognised)"),
    "a tag of MP3 alone": (b"ID3\x04" + bytes(100), "this MP3 file (Format not recognised)"),
    "an end of Ogg": (b"OggS" + bytes(100), "libsndfile cannot read this Ogg file ("),
    "text": (b"Hello, world.\n" * 100, "this file (Format not recognised)" + CONVERT),
    "an archive": (zipped(), "this file (Format not recognised)" + CONVERT),
    "noise": (random.Random(1).randbytes(10_000), "this file (Format not recognised)"),
}


@pytest.mark.parametrize("words", [["call", NOWHERE, "--audio"], ["serve", "--play"]])
@pytest.mark.parametrize(("content", "says"), SOUNDS.values(), ids=SOUNDS.keys())
def test_audio_that_cannot_be_played(
    words: list[str], content: bytes, says: str, tmp_path: Path
) -> None:
    (tmp_path / "sound.wav").write_bytes(content)
    run = listenproto(*words, "sound.wav", cwd=tmp_path)
    assert (run.status, run.out) == (2, "")
    assert run.complaint.startswith(f"Invalid value for {words[-1]}: sound.wav cannot be played: ")
    assert says in run.complaint


BAD_OPTIONS = {
    "verb": "say",
    "url": "ftp://app.example/",
    "actionHook": 5,
    "bidirectionalAudio": [],
    "bidirectionalAudio.enabled": 1,
    "bidirectionalAudio.streaming": "yes",
    "bidirectionalAudio.sampleRate": 11025,
    "disableBidirectionalAudio": "no",
    "finishOnKey": "E",
    "maxLength": -1,
    "metadata": "text",
    "metadata.sampleRate": 8000,
    "metadata.mixType": "mono",
    "mixType": "both",
    "passDtmf": 1,
    "playBeep": "yes",
    "sampleRate": 44100,
    "timeout": -0.5,
    "transcribe": [],
    "wsAuth": "user:secret",
    "wsAuth.username": "us:er",
    "wsAuth.password": 5,
    "auth": "user:secret",
    "earlyMedia": 2,
    "channel": 0,
    "id": 7,
}
UNKNOWN_OPTIONS = ["sampelRate", "bidirectionalAudio.enable", "wsAuth.user"]
GOOD_BESIDE = {"wsAuth": {"username": "user", "password": "secret"}}
"""What an option needs besides the one that is wrong."""


def options_in(schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The options that a schema knows, those inside others too."""
    for name, inner in schema.get("properties", {}).items():
        yield prefix + name
        yield from options_in(inner, f"{prefix}{name}.")


def test_every_option_of_the_verb_is_wrong_in_turn() -> None:
    schema = json.loads((ROOT / "spec" / "schemas" / "verb.schema.json").read_text())
    notes = {"_", "bidirectionalAudio._", "wsAuth._"}  # mean nothing, whatever they are
    assert BAD_OPTIONS.keys() == {*options_in(schema)} - notes


def verb_with(option: str, value: object) -> dict[str, object]:
    """A verb with one option wrong."""
    name, _, inner = option.partition(".")
    return {name: {**GOOD_BESIDE.get(name, {}), inner: value} if inner else value}


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        *((option, value, f"{option} must be ") for option, value in BAD_OPTIONS.items()),
        *((option, 1, f"unknown option '{option}' (did you mean ") for option in UNKNOWN_OPTIONS),
    ],
)
def test_a_verb_with_one_option_wrong(
    option: str, value: object, said: str, tmp_path: Path
) -> None:
    (tmp_path / "verb.json").write_text(json.dumps(verb_with(option, value)))
    run = listenproto("call", NOWHERE, "--verb", "verb.json", cwd=tmp_path)
    assert (run.status, run.out) == (2, "")
    assert run.complaint.startswith(f"Invalid value for --verb: verb.json: {said}")


def test_a_stream_needs_its_rate(tmp_path: Path) -> None:
    (tmp_path / "verb.json").write_text('{"bidirectionalAudio": {"streaming": true}}')
    run = listenproto("call", NOWHERE, "--verb", "verb.json", cwd=tmp_path)
    assert (run.status, run.out) == (2, "")
    said = "Invalid value for --verb: verb.json: bidirectionalAudio.sampleRate must be "
    assert run.complaint.startswith(said)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not valid JSON: "),
        (b"{", "is not valid JSON: "),
        (b"[{}]", "must contain one listen verb, a JSON object"),
        (b'{"maxLength": NaN}', "is not valid JSON: "),
        (b"\xff\xfe", "is not valid JSON: "),
        (b"\xef\xbb\xbf{}", "starts with a byte order mark (BOM)"),
        (b"[" * 100_000, "is not valid JSON: "),
    ],
)
def test_a_verb_file_that_holds_no_verb(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "verb.json").write_bytes(content)
    run = listenproto("call", NOWHERE, "--verb", "verb.json", cwd=tmp_path)
    assert run.status == 2
    assert "verb.json" in run.complaint
    assert says in run.complaint


@pytest.mark.parametrize("url", [5, None, "//app.example/", "app.example"])
def test_a_url_in_a_verb_file_that_is_none(url: object, tmp_path: Path) -> None:
    (tmp_path / "verb.json").write_text(json.dumps({"url": url}))
    run = listenproto("call", NOWHERE, "--verb", "verb.json", cwd=tmp_path)
    assert run.status == 2
    assert run.complaint.startswith("Invalid value for --verb: verb.json: url must be a ws, wss,")


@pytest.mark.parametrize("url", ["/listen", "wss://elsewhere.example/"])
def test_another_url_than_that_of_the_verb_file_is_called(url: str, tmp_path: Path) -> None:
    (tmp_path / "verb.json").write_text(json.dumps({"url": url}))
    run = listenproto("call", NOWHERE, "--verb", "verb.json", cwd=tmp_path)
    assert run.status == 1
    assert "no connection to 127.0.0.1:1:" in run.complaint


READING = [
    ["call", NOWHERE, "--verb"],
    ["call", NOWHERE, "--audio"],
    ["serve", "--play"],
]


@pytest.mark.parametrize("words", READING)
def test_a_device_may_have_no_end(words: list[str], tmp_path: Path) -> None:
    run = listenproto(*words, "/dev/zero", cwd=tmp_path)
    assert run.status == 2
    said = f"Invalid value for {words[-1]}: /dev/zero is neither a regular file nor a pipe"
    assert run.complaint == said


@pytest.mark.parametrize("words", READING)
def test_a_file_of_more_than_is_read(words: list[str], tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**29 + 1)
    run = listenproto(*words, "large", cwd=tmp_path)
    assert run.status == 2
    assert run.complaint.endswith(" MiB")


@contextmanager
def piped(content: bytes) -> Iterator[str]:
    """The name of a pipe that somebody writes this into, as a shell's ``<(…)`` has it."""
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb", buffering=0) as pipe, suppress(BrokenPipeError):
            pipe.write(content)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)
        writer.join()


def test_a_pipe_is_read_as_a_file_is(tmp_path: Path) -> None:
    with piped(b'{"mixType": "stereo"}') as verb, piped(wav()) as sound:
        words = ["--verb", verb, "--audio-far", sound]
        run = listenproto("call", NOWHERE, *words, cwd=tmp_path)
    assert run.status == 1
    assert "no connection" in run.complaint


def test_a_pipe_of_more_than_is_read(tmp_path: Path) -> None:
    with piped(b" " * 2**21) as verb:
        run = listenproto("call", NOWHERE, "--verb", verb, cwd=tmp_path)
        assert run.status == 2
        assert run.complaint.endswith(" is larger than the limit of 1 MiB")


def test_metadata_of_more_than_can_be_sent(tmp_path: Path) -> None:
    (tmp_path / "verb.json").write_text(json.dumps({"metadata": {"a": "b" * 8192}}))
    words = ["--verb", "verb.json", "--heard", "heard.wav", "--trace", "trace.jsonl"]
    run = listenproto("call", NOWHERE, *words, cwd=tmp_path)
    assert (run.status, run.out) == (2, "")
    assert run.complaint.startswith("Invalid value for --verb: verb.json: the metadata has ")
    assert run.complaint.endswith(" bytes; at most 8192 may be sent [LP-META-11]")
    assert [*tmp_path.iterdir()] == [tmp_path / "verb.json"]


@pytest.mark.parametrize("url", ["ftp://app.example/", "app.example", "ws:app.example", "/listen"])
def test_a_url_without_a_scheme_that_will_do(url: str, tmp_path: Path) -> None:
    run = listenproto("call", url, cwd=tmp_path)
    assert (run.status, run.out) == (2, "")
    said = "must start with ws://, wss://, http:// or https://, e.g. ws://127.0.0.1:3000/"
    assert run.complaint == f"Invalid value for URL: {url!r} {said}"


@pytest.mark.parametrize(
    "url",
    ["ws://[app.example/", "ws://a[::1]/", "ws://[app.example]/"],
)
def test_a_url_that_no_app_can_have(url: str, tmp_path: Path) -> None:
    run = listenproto("call", url, cwd=tmp_path)
    assert (run.status, run.out) == (2, "")
    assert run.complaint == (
        f"Invalid value for URL: {url!r} must be a ws, wss, http or https URL such as "
        "ws://app.example/call (no user name; 1 to 63 characters between dots of the host; "
        "printable ASCII without spaces, '#' and '\\')"
    )


@pytest.mark.parametrize(
    ("url", "must"),
    [
        ("ws://", "have a host in it, as in ws://app.example/call"),
        ("ws://127.0.0.1:99999/", "have a port from 1 to 65535"),
        ("ws://a b/", "have no spaces in it"),
        ("ws://app.example/#a", "have no '#' in it"),
        ("ws://a..b/", "have a host with 1 to 63 characters between dots"),
        (f"ws://{'a' * 64}.example/", "have a host with 1 to 63 characters between dots"),
    ],
)
def test_the_one_thing_that_is_wrong_with_a_url_is_told(
    url: str, must: str, tmp_path: Path
) -> None:
    run = listenproto("call", url, cwd=tmp_path)
    assert (run.status, run.out) == (2, "")
    assert run.complaint.startswith("Invalid value for URL: 'ws://")
    assert run.complaint.endswith(f"' must {must}")


@pytest.mark.parametrize("user", ["listen:hunter2", "hunter2"])
def test_a_url_with_a_password_is_refused_without_showing_it(user: str, tmp_path: Path) -> None:
    run = listenproto("call", f"ws://{user}@app.example/", cwd=tmp_path)
    assert (run.status, run.out) == (2, "")
    assert run.complaint == (
        "Invalid value for URL: 'ws://***@app.example/' must not have a user name or password in "
        "it; use --auth USER:PASSWORD"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["call", "listen:hunter2@app.example"],
        ["call", "ws://listen:hun/ter2@app.example"],
        ["call", "ws://listen:hun ter2@app.example"],
        ["call", NOWHERE, "ws://listen:hunter2@app.example"],
        ["call", NOWHERE, "--audio", "ws://listen:hunter2@app.example"],
        ["lint", "ws://listen:hunter2@app.example"],
        ["call", NOWHERE, "ws://app.example/@b?to=ws://listen:hunter2@app.example"],
    ],
)
def test_no_password_of_a_url_is_shown_wherever_it_stands(words: list[str], tmp_path: Path) -> None:
    run = listenproto(*words, cwd=tmp_path)
    assert (run.status, run.out) == (2, "")
    assert "***@app.example" in run.complaint
    assert "ter2" not in run.complaint


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--dtmf", "E@1"], "'E@1' is not KEY@SECONDS"),
        (["--dtmf", "5"], "e.g. 5@2.0; the keys are 0123456789*#ABCD"),
        (["--dtmf", "5@-1"], "'5@-1'"),
        (["--dtmf", "5@nan"], "'5@nan'"),
        (["--auth", ":secret"], "USER:PASSWORD"),
        (["--rate", "8000"], "--mode streaming"),
        (["--verb", "verb.json", "--mode", "off"], "--verb already sets mode and rate"),
        (["--hangup-after", "-1"], "--hangup-after"),
        (["--speed", "0"], "--speed"),
        (["--speed", "0.009"], "--speed"),
        (["--calls", "0"], "--calls"),
        (["--calls", "1001"], "--calls"),
        (["--bidirectional-in-dial"], "only works with --nested-in-dial"),
        (["--dtmf", "1@1,5@1.1", "--hangup-after", "1"], "5@1.1 is too late: the caller hangs up"),
        (["--dtmf", "5@99"], "hangs up at 11.04 s, when the audio ends; use --hangup-after S"),
        (["--profile", "other"], "'other'"),
        (["--cafile", "verb.json"], "verb.json is not a PEM file with certificates"),
        (["--heard", "verb.json"], "verb.json already exists"),
        (["--trace", "verb.json"], "verb.json already exists"),
        (["--audio", "nowhere.wav"], "nowhere.wav"),
        (["--speed", "nan"], "not a finite number"),
        (["--speed", "fast"], "'fast' is not a valid number"),
        (["--hangup-after", "inf"], "not a finite number"),
        (["--auth", "a:b\nc"], "Invalid value for --auth: wsAuth.password must be"),
        (["--heard", "same", "--trace", "same"], "--heard and --trace are both same"),
        (["--subprotocol", ""], "'' must be one name without spaces and commas"),
        (["--subprotocol", "a,b"], "'a,b' must be one name without spaces and commas"),
    ],
)
def test_misuse_of_call(words: list[str], says: str, tmp_path: Path) -> None:
    (tmp_path / "verb.json").write_text("{}")
    run = listenproto("call", NOWHERE, *words, cwd=tmp_path)
    assert (run.status, run.out) == (2, "")
    assert says in run.complaint
    assert (tmp_path / "verb.json").read_text() == "{}"


def test_a_file_that_cannot_be_made_costs_its_call(tmp_path: Path) -> None:
    run = listenproto("call", NOWHERE, "--heard", "no/heard.wav", cwd=tmp_path)
    assert run.status == 1
    assert run.complaint == "cannot write no/heard.wav: No such file or directory"


def reset(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def say(*said: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        with suppress(ConnectionError):  # who is told too much hangs up
            for one in said:
                connection.sendall(one)

    return answer


LOST = "the call to {peer} failed: connection lost"
SERVERS = {
    "reset": (reset, f"{LOST}: Connection reset by peer"),
    "half an answer": (say(b"HTTP/1.1 101 Switch"), LOST),
    "another protocol": (
        say(b"SSH-2.0-OpenSSH_9.2p1\r\n"),
        "the call to {peer} failed: not a valid HTTP response: it does not start with HTTP/",
    ),
    "no WebSocket": (
        say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
        "{peer} answered 200 instead of accepting the call: hi",
    ),
    "no HTTP end": (
        say(*[b"HTTP/1.1 200 OK\r\n", *[b"a: b\r\n" * 1000] * 20]),
        "the call to {peer} failed: not a valid HTTP response: its head exceeds 16384 bytes",
    ),
}


@pytest.mark.parametrize(("answer", "says"), SERVERS.values(), ids=SERVERS.keys())
def test_a_server_that_takes_no_calls(
    answer: Callable[[socket.socket], None], says: str, tmp_path: Path
) -> None:
    with answering(answer) as url:
        run = listenproto("call", url, cwd=tmp_path)
    assert run.status == 1
    assert run.complaint.startswith(says.format(peer=url.removeprefix("ws://").rstrip("/")))


@pytest.mark.parametrize(
    ("scheme", "lacks"),
    [
        ("ws", "no answer from {peer} to the upgrade request"),
        ("wss", "TLS with {peer} failed: no answer"),
    ],
)
def test_a_server_that_says_nothing(
    scheme: str, lacks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listen(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass

    monkeypatch.setattr(_client, "Limits", partial(Limits, handshake_time=0.2))
    words = ["--heard", "heard.wav", "--trace", "trace.jsonl"]
    with answering(listen) as url:
        run = listenproto("call", url.replace("ws", scheme), *words, cwd=tmp_path)
    assert (run.status, run.out) == (1, "")
    peer = url.removeprefix("ws://").rstrip("/")
    assert run.complaint.startswith(f"{lacks.format(peer=peer)} within 0.2 s")
    assert [*tmp_path.iterdir()] == []


def test_a_connection_that_is_refused_names_the_server(tmp_path: Path) -> None:
    run = listenproto("call", NOWHERE, cwd=tmp_path)
    assert run.status == 1
    assert "127.0.0.1:1" in run.complaint


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        ("http://[::1", "actionHook.url must be an http or https URL, or a path"),
        ("ftp://app.example/", "actionHook.url must be"),
        ({}, "actionHook.url must be"),
        ({"url": 5}, "actionHook.url must be"),
        ("http://a..b/", "actionHook.url must be"),
        (f"http://{'a' * 64}.b/", "actionHook.url must be"),
        ("http://xn--/", "actionHook.url must be"),
        ("http://127.0.0.1:0/", "actionHook.url must be"),
        ("http://127.0.0.1:65536/", "actionHook.url must be"),
        ({"url": "/done", "method": "PUT"}, "actionHook.method must be 'GET' or 'POST'"),
    ],
)
def test_an_action_hook_that_cannot_be_called(hook: object, says: str, tmp_path: Path) -> None:
    (tmp_path / "verb.json").write_text(json.dumps({"actionHook": hook}))
    run = listenproto("call", NOWHERE, "--verb", "verb.json", cwd=tmp_path)
    assert (run.status, run.out) == (2, "")
    assert run.complaint.startswith(f"Invalid value for --verb: verb.json: {says}")


def test_what_a_server_says_steers_no_terminal(tmp_path: Path) -> None:
    said = b"\x1b[31mred\x1b]0;title\x07\r\nlistenproto: forged" + b"!" * 5000
    head = b"HTTP/1.1 403 No\r\nContent-Length: %d\r\n\r\n" % len(said)
    with answering(say(head + said)) as url:
        run = listenproto("call", url, cwd=tmp_path)
    assert run.status == 1
    assert "\\x1b[31mred" in run.complaint  # one line, and nothing in it but text
    assert run.complaint.isprintable()
    assert len(run.complaint) < 600


def test_a_call_that_never_was_leaves_no_files(tmp_path: Path) -> None:
    words = ["--heard", "heard.wav", "--trace", "trace.jsonl"]
    for _ in range(2):
        run = listenproto("call", NOWHERE, *words, cwd=tmp_path)
        assert (run.status, run.out) == (1, "")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    "value", ["", "8001", "mono", "8000,", "8000,both", "8000,mono,x", " 8000"]
)
def test_what_to_assume_is_a_rate_and_perhaps_a_mix_type(value: str, tmp_path: Path) -> None:
    run = listenproto("serve", "--port", "0", "--assume", value, cwd=tmp_path)
    assert (run.status, run.out) == (2, "")
    assert "is not RATE or RATE,MIXTYPE, e.g. 8000 or 16000,stereo" in run.complaint
