"""``listenproto serve``, with ``listenproto call`` at the other end."""

from __future__ import annotations

import datetime
import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError

import attrs
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from listenproto import (
    SUBPROTOCOL,
    AppSession,
    EndedCall,
    Ending,
    EndKind,
    Peer,
    Statistics,
    judge_trace,
)
from listenproto._l16 import peak
from listenproto._logs import CallLog
from listenproto._wav import parse_wav, wav_header
from listenproto.recording import read_trace_file
from listenproto_trio.cli.echo import MOST_CLIP
from listenproto_trio.cli.metrics import Metrics
from listenproto_trio.cli.screen import Screen, showing_log
from listenproto_trio.speech import speech
from tests.cli_support import COMMAND, Command, line_with, listenproto, serving, started
from tests.disk_support import make_read_only, small_disk

FAST = ("--speed", "20", "--hangup-after", "3")
STEADY = ("--speed", "2", "--hangup-after", "3")
"""Where the app has to answer within parts of a second of the call, on a busy machine, too."""


def stop(process: Command, *, status: int = 0) -> tuple[str, str]:
    """Tell a command to end; gives what it had said."""
    process.terminate()
    out, err = process.communicate()
    assert process.returncode == status
    return out, err


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def calling(*words: str, cwd: Path) -> Iterator[tuple[Command, str, Command]]:
    """A server in a call; gives the server, its URL, and the call, of 11 seconds."""
    with (
        serving(*words, cwd=cwd) as (url, process),
        started("call", url, "-v", cwd=cwd) as call,
    ):
        line_with(process, "#1 call from")
        yield process, url, call


def sound(folder: Path, name: str, seconds: float, rate: int = 8000, channels: int = 1) -> Path:
    path = folder / name
    size = round(seconds * rate) * 2 * channels
    path.write_bytes(wav_header(size, rate, channels) + b"\x00\x10" * (size // 2))
    return path


_Payload = TypeVar("_Payload", str, bytes)


def said_in(path: Path, kind: type[_Payload]) -> list[_Payload]:
    """What the platform says in a trace: its texts, or its audio."""
    return [
        line.payload
        for line in read_trace_file(path).lines
        if isinstance(line.payload, kind) and line.sender is Peer.PLATFORM
    ]


@pytest.mark.parametrize("profile", ["documented", "deployed"])
@pytest.mark.parametrize(
    ("mix", "mode"), [("mono", "clips"), ("stereo", "streaming"), ("mixed", "off")]
)
def test_calls_over_tls_are_recorded_as_they_were_sent(
    tmp_path: Path, authority: trustme.CA, mix: str, mode: str, profile: str
) -> None:
    back = {"enabled": mode != "off", "streaming": mode == "streaming", "sampleRate": 8000}
    told = {"customer": {"id": 7, "languages": ["de", "en"]}}
    verb = {"mixType": mix, "sampleRate": 16000, "bidirectionalAudio": back, "metadata": told}
    (tmp_path / "verb.json").write_text(json.dumps(verb))
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    words = ["--certfile", "cert.pem", "--keyfile", "key.pem", "--record", "rec"]
    words += ["--trace", "traces", "--profile", profile, "--mode", mode]
    words += [] if mode == "off" else ["--play", sound(tmp_path, "one.wav", 0.1)]
    with serving(*words, cwd=tmp_path) as (url, process):
        called = ["--cafile", "ca.pem", "--verb", "verb.json", "--profile", profile]
        run = listenproto("call", url, *called, "--trace", "platform.jsonl", *FAST, cwd=tmp_path)
        assert (run.status, run.err) == (0, "")
        out, err = stop(process)
    assert err == ""
    (recorded,) = (tmp_path / "rec").glob("*.wav")
    sidecar = recorded.with_suffix(".json")
    assert f"#1 wrote rec/{recorded.name}\n#1 wrote rec/{sidecar.name}\n" in out
    wav = parse_wav(recorded.read_bytes())
    sent = said_in(tmp_path / "platform.jsonl", bytes)
    assert (wav.pcm, wav.rate, wav.channels) == (b"".join(sent), 16000, 2 if mix == "stereo" else 1)
    about = json.loads(recorded.with_suffix(".json").read_text())
    assert (about["mixType"], about["end"]["how"]) == (mix, "closed")
    assert about["metadata"]["customer"] == told["customer"]
    for name in ("platform.jsonl", "traces/call-1.trace.jsonl"):
        trace = read_trace_file(tmp_path / name)
        assert trace.header.profile == profile
        assert judge_trace(trace) == []
    metadata, *answers = map(json.loads, said_in(tmp_path / "platform.jsonl", str))
    assert metadata["customer"] == told["customer"]
    if mode == "clips":
        assert [answer["type"] for answer in answers] == ["playDone"]
        assert ("data" in answers[0]) == (profile == "deployed")
    elif mode == "streaming":
        playout = {"name": "file-1", "event": "playout"}
        assert answers == [{"type": "mark", "data": playout}]
    else:
        assert answers == []


@pytest.mark.parametrize("profile", ["documented", "deployed"])
def test_marks_may_get_lost_on_a_deployed_platform_alone(tmp_path: Path, profile: str) -> None:
    words = ["--mode", "streaming", "--profile", profile]
    files = [word for n in (1, 2) for word in ("--play", sound(tmp_path, f"{n}.wav", 0.1))]
    with serving(*words, *files, cwd=tmp_path) as (url, process):
        with connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None) as platform:
            platform.send('{"callSid":"c"}')
            while "file-2" not in str(platform.recv()):
                pass
            platform.send('{"type":"mark","data":{"name":"file-2","event":"playout"}}')
        out, err = stop(process)
    assert err == ""
    breaches = [line for line in out.splitlines() if line.startswith("#1 platform: ")]
    assert [line.split(": ")[1] for line in breaches] == ["LP-MARK-14"] * (profile == "documented")


def test_an_echo_has_the_rate_of_the_stream(tmp_path: Path) -> None:
    words = ["--mode", "streaming", "--rate", "16000"]
    with serving(*words, "--echo", cwd=tmp_path) as (url, _):
        called = ["--heard", "heard.wav", "--hangup-after", "11", "--speed", "10"]
        run = listenproto("call", url, *words, *called, cwd=tmp_path)
        assert (run.status, run.err) == (0, "")
    heard = parse_wav((tmp_path / "heard.wav").read_bytes())
    assert heard.rate == 16000
    assert abs(peak(heard.pcm) - peak(speech())) < 3000


def test_files_are_played_as_a_stream(tmp_path: Path) -> None:
    files = [sound(tmp_path, "one.wav", 0.3, 44100, 2), sound(tmp_path, "two.wav", 0.3, 8000)]
    words = ["--mode", "streaming", *(word for file in files for word in ("--play", file))]
    with serving(*words, "-v", cwd=tmp_path) as (url, process):
        called = ["--mode", "streaming", "--heard", "heard.wav", "--hangup-after", "1.5"]
        run = listenproto("call", url, *called, cwd=tmp_path)
        assert (run.status, run.err) == (0, "")
        out, _ = stop(process)
    assert "mark file-1 playout" in out
    assert "mark file-2 playout" in out
    heard = memoryview(parse_wav((tmp_path / "heard.wav").read_bytes()).pcm).cast("h")
    assert abs(sum(abs(sample - 0x1000) < 100 for sample in heard) - 4800) < 200


def test_more_files_than_can_wait_are_all_played(tmp_path: Path) -> None:
    odd = sound(tmp_path, "odd.wav", 0.1, 11025, 3)  # no clip as it is
    files = [odd, *(sound(tmp_path, f"{n}.wav", 0.1, 16000, 2) for n in range(12))]
    words = [word for file in files for word in ("--play", file)]
    with serving(*words, "-v", cwd=tmp_path) as (url, process):
        run = listenproto("call", url, "--json", *STEADY, cwd=tmp_path)
        assert run.status == 0
        out, _ = stop(process)
    (call,) = json.loads(run.out)["calls"]
    assert call["app_messages"] == {"PlayAudio": 13}
    assert abs(call["seconds_heard"] - 1.3) < 0.001
    assert out.count("playDone") == 13


def test_the_longest_clip_fits_into_a_message(tmp_path: Path) -> None:
    file = sound(tmp_path, "long.wav", (MOST_CLIP - 44) // 2 / 8000)
    assert file.stat().st_size == MOST_CLIP
    with (
        serving("--play", file, cwd=tmp_path) as (url, _),
        connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], max_size=2**24) as platform,
    ):
        platform.send('{"callSid":"c"}')
        assert json.loads(platform.recv())["type"] == "playAudio"


@pytest.mark.parametrize(("seconds", "channels"), [(800, 1), (400, 3)])
def test_a_clip_that_no_message_holds_is_refused_at_the_start(
    seconds: int, channels: int, tmp_path: Path
) -> None:
    """Behind it stands what is refused next: without it, the command would serve."""
    sound(tmp_path, "long.wav", seconds, channels=channels)
    words = ["--play", "long.wav", "--certfile", "long.wav"]
    run = listenproto("serve", *words, cwd=tmp_path)
    assert (run.status, run.out) == (2, "")
    assert run.complaint == (
        "Invalid value for --play: long.wav is too long for a clip (at most 12 MiB of audio); "
        "play a shorter file, or use --mode streaming"
    )
    run = listenproto("serve", "--mode", "streaming", *words, cwd=tmp_path)
    assert (
        run.complaint
        == "Invalid value for --certfile: long.wav is not a PEM file with a certificate"
    )


def test_each_call_is_told_to_programs_at_its_end(tmp_path: Path) -> None:
    with serving("--json", cwd=tmp_path) as (url, process):
        for _ in range(2):
            assert listenproto("call", url, *FAST, cwd=tmp_path).status == 0
        out, err = stop(process)
    first, second = map(json.loads, out.splitlines())
    assert (first["call"], second["call"]) == (1, 2)
    assert first["call_sid"] != second["call_sid"]
    assert (first["failed"], first["seconds_heard"], first["samples_dropped"]) == (False, 3.0, 0)
    assert err.endswith("calls: 2, failed: 0\n")


def test_both_sides_are_recorded(tmp_path: Path) -> None:
    words = ["--mode", "streaming", "--rate", "16000"]
    recording = ["--echo", "--record", "rec", "--both", "--fill-gaps"]
    with serving(*words, *recording, cwd=tmp_path) as (url, process):
        called = ["--trace", "platform.jsonl", "--heard", "heard.wav", *STEADY]
        run = listenproto("call", url, *words, *called, cwd=tmp_path)
        assert (run.status, run.err) == (0, "")
        stop(process)
    (recorded,) = (tmp_path / "rec").glob("*.wav")
    wav = parse_wav(recorded.read_bytes())
    assert (wav.rate, wav.channels) == (8000, 2)
    left, right = (memoryview(wav.pcm).cast("h")[side::2].tobytes() for side in (0, 1))
    assert left == b"".join(said_in(tmp_path / "platform.jsonl", bytes))
    assert abs(peak(right) - peak(left)) < 3000
    about = json.loads(recorded.with_suffix(".json").read_text())
    assert (about["parties"], about["gapsFilled"]) == (["caller", "app"], True)


def test_who_may_call_and_where(tmp_path: Path) -> None:
    words = ["--path", "/@listen", "--auth", "user:secret", "--health", "/health"]
    with serving(*words, cwd=tmp_path) as (url, process):
        run = listenproto("call", url, *FAST, cwd=tmp_path)
        assert run.status == 1
        assert run.complaint.endswith(
            " refused the call with 401: Wrong or missing credentials; pass the app's user name "
            "and password with --auth USER:PASSWORD"
        )
        run = listenproto("call", url, "--auth", "user:wrong", *FAST, cwd=tmp_path)
        assert "401" in run.complaint
        run = listenproto("call", f"{url}/else", "--auth", "user:secret", *FAST, cwd=tmp_path)
        assert run.complaint.endswith("404: This server has no path /@listen/else; check the URL.")
        run = listenproto("call", url, "--auth", "user:secret", *FAST, cwd=tmp_path)
        assert (run.status, run.err) == (0, "")
        health = "http" + url.removeprefix("ws").replace("/@listen", "/health")
        with urllib.request.urlopen(health) as answer:
            assert (answer.status, answer.read()) == (200, b"OK\n")
        out, err = stop(process)
    assert "secret" not in out + err
    assert out.count("answered 401: Wrong or missing credentials.\n") == 2
    assert "\nconnection from 127.0.0.1:" in out
    assert out.count("answered 404: This server has no path /@listen/else; check the URL.\n") == 1


def test_which_subprotocols_are_accepted(tmp_path: Path) -> None:
    words = ["--subprotocol", "one", "--subprotocol", "two", "--allow-no-subprotocol"]
    with serving(*words, cwd=tmp_path) as (url, _):
        run = listenproto("call", url, *FAST, cwd=tmp_path)
        assert run.complaint.endswith(
            "400: Subprotocols offered: audio.jambonz.org; supported: one and two; offer one that "
            "it knows with --subprotocol NAME"
        )
        run = listenproto("call", url, "--subprotocol", "two", *FAST, cwd=tmp_path)
        assert (run.status, run.err) == (0, "")
        with connect(url, compression=None) as platform:
            assert platform.subprotocol is None
    with serving(cwd=tmp_path) as (url, process):
        with pytest.raises(InvalidStatus, match="HTTP 400"):
            connect(url, compression=None)
        helps = "--subprotocol NAME, or --allow-no-subprotocol if none is offered."
        assert line_with(process, "offered: none; ").endswith(f". To accept it, pass {helps}\n")


def test_no_more_calls_than_may_be(tmp_path: Path) -> None:
    with calling("--max-calls", "1", cwd=tmp_path) as (_, url, _):
        run = listenproto("call", url, *FAST, cwd=tmp_path)
    assert run.status == 1
    assert run.complaint.endswith("503: The limit of open calls is reached (1); try again later.")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_takes_no_calls_and_gives_time(
    tmp_path: Path, number: signal.Signals
) -> None:
    with calling("--record", "rec", cwd=tmp_path) as (process, url, call):
        process.send_signal(number)
        assert "calls open: 1" in line_with(process, "stopping")
        refused = listenproto("call", url, *FAST, cwd=tmp_path)
        call.send_signal(signal.SIGINT)
        out, err = call.communicate()
        _, said = process.communicate()
    assert (call.returncode, err, process.returncode, said) == (0, "", 0, "")
    assert "hangup" in out
    assert refused.status == 1
    (sidecar,) = (tmp_path / "rec").glob("*.json")
    assert json.loads(sidecar.read_text())["end"]["how"] == "closed"


def test_who_does_not_end_in_time_is_closed(tmp_path: Path) -> None:
    with calling("--record", "rec", "--grace", "0", cwd=tmp_path) as (process, _, call):
        told, _ = stop(process)
        out, _ = call.communicate()
    assert "close 1001" in out
    assert "#1 over: cut short by the shutdown of the server\n" in told
    assert "\n   1  cut short " in told
    (sidecar,) = (tmp_path / "rec").glob("*.json")
    assert json.loads(sidecar.read_text())["end"]["how"] == "cancelled"


def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    with calling("--record", "rec", cwd=tmp_path) as (process, _, _):
        process.send_signal(signal.SIGINT)
        line_with(process, "stopping")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert "\n   1  cut short " in out
    assert "calls: 1, failed: 0\n" in out
    assert (process.returncode, err) == (130, "listenproto: interrupted\n")
    (sidecar,) = (tmp_path / "rec").glob("*.json")
    assert json.loads(sidecar.read_text())["end"]["how"] == "cancelled"


@pytest.mark.parametrize("channels", [1, 2])
def test_a_killed_server_loses_nothing_recorded(tmp_path: Path, channels: int) -> None:
    words = ["--record", "rec", *(["--both", "--echo"] if channels == 2 else [])]
    with calling(*words, cwd=tmp_path) as (process, _, call):
        line_with(call, "audio 2.")
        process.kill()
        process.wait()
    (recorded,) = (tmp_path / "rec").glob("*.wav")
    assert len(parse_wav(recorded.read_bytes()).pcm) >= 16000 * channels
    run = listenproto("recover", recorded, cwd=tmp_path)
    assert run.status == 0
    wav = parse_wav(recorded.read_bytes())
    said = memoryview(wav.pcm).cast("h")[::channels].tobytes()
    assert (wav.channels, len(said) >= 32000) == (channels, True)
    assert speech().startswith(said)
    assert json.loads(recorded.with_suffix(".json").read_text())["end"] is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--mode", "off", "--echo"], "--mode off cannot send audio back; drop"),
        (["--rate", "16000"], "--mode streaming"),
        (["--mode", "streaming", "--rate", "11025"], "'11025'"),
        (["--path", "listen"], "'/'"),
        (["--path", "/a b"], "'/'"),
        (["--health", "health"], "'/'"),
        (["--health", "/"], "--health and --path are both /"),
        (["--health", "/a", "--metrics", "/a"], "--metrics and --health are both /a"),
        (["--host", ""], "--host"),
        (["--grace", "nan"], "not a finite number"),
        (["--auth", "secret"], "USER:PASSWORD"),
        (["--port", "70000"], "--port"),
        (["--keyfile", "text.wav"], "--certfile"),
        (["--metrics-port", "9000"], "--metrics-port only works with --metrics"),
        (["--fd", "3", "--reuse-port"], "--reuse-port is for a port; drop it, or --fd"),
        (["--certfile", "text.wav"], "--certfile: text.wav is not a PEM file with a certificate"),
        (["--play", "nowhere.wav"], "nowhere.wav"),
        (["--record", "text.wav"], "text.wav"),
        (["--both", "--fill-gaps"], "--both only works with --record"),
        (["--fill-gaps"], "--fill-gaps only works with --record"),
    ],
)
def test_misuse_is_told_in_words_and_ends_with_2(
    words: list[str], says: str, tmp_path: Path
) -> None:
    (tmp_path / "text.wav").write_text("hello")
    run = listenproto("serve", *words, cwd=tmp_path)
    assert run.status == 2
    assert says in run.complaint


@pytest.mark.parametrize("command", [["serve"], ["call", "ws://127.0.0.1:1/"]])
@pytest.mark.parametrize(
    ("credentials", "says"),
    [
        ("secret", "credentials must be USER:PASSWORD, with neither part empty"),
        ("alice:a\tb", "wsAuth.password must be "),
    ],
)
def test_bad_credentials_are_told_with_the_place_that_they_come_from(
    credentials: str,
    says: str,
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = listenproto(*command, "--auth", credentials, cwd=tmp_path)
    assert run.status == 2
    assert run.complaint.startswith(f"Invalid value for --auth: {says}")
    monkeypatch.setenv("LISTENPROTO_AUTH", credentials)
    run = listenproto(*command, cwd=tmp_path)
    assert run.status == 2
    assert run.complaint.startswith(f"Invalid value for LISTENPROTO_AUTH: {says}")


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = listenproto("serve", "--port", str(port), cwd=tmp_path)
    assert run.status == 1
    assert run.complaint == f"cannot listen on 127.0.0.1 port {port}: Address already in use"


@pytest.mark.parametrize("host", ["a..b", "\u00e4..b"])
def test_a_name_that_no_look_up_takes_is_told_in_one_line(host: str, tmp_path: Path) -> None:
    run = listenproto("serve", "--host", host, "--port", "0", cwd=tmp_path)
    assert run.status == 1
    said = f"cannot listen on {host} port 0: {host!r} is not a host name or an address"
    assert run.complaint == said


def certificate(folder: Path, issued: trustme.LeafCert) -> list[str | Path]:
    """The options for a server with this certificate."""
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return ["--certfile", "server.pem"]


def test_a_call_over_tls(tmp_path: Path, authority: trustme.CA) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    identity = certificate(tmp_path, authority.issue_cert("127.0.0.1"))
    with serving(*identity, "--echo", cwd=tmp_path) as (url, _):
        assert url.startswith("wss://")
        run = listenproto("call", url, "--cafile", "ca.pem", *FAST, cwd=tmp_path)
        assert (run.status, run.err) == (0, "")
        run = listenproto("call", url, *FAST, cwd=tmp_path)
        assert run.status == 1
        assert run.complaint.startswith("TLS with 127.0.0.1:")
        assert run.complaint.endswith("; pass its CA with --cafile FILE")
        run = listenproto("call", url, "--insecure", *FAST, cwd=tmp_path)
        assert (run.status, run.err) == (0, "")
        assert run.out.startswith("INSECURE: certificates are not checked")
        plain = url.replace("wss", "ws")
        run = listenproto("call", plain, *FAST, cwd=tmp_path)
        assert run.status == 1


def test_a_certificate_is_read_again(tmp_path: Path, authority: trustme.CA) -> None:
    later = trustme.CA()
    later.cert_pem.write_to_path(tmp_path / "ca.pem")
    identity = certificate(tmp_path, authority.issue_cert("127.0.0.1"))
    with serving(*identity, cwd=tmp_path) as (url, process):
        words = [url, "--cafile", "ca.pem", *FAST]
        assert "not trusted" in listenproto("call", *words, cwd=tmp_path).complaint
        (tmp_path / "server.pem").write_text("half a certi")
        process.send_signal(signal.SIGHUP)
        said = line_with(process, "the old one stays in use", on_stderr=True)
        assert ": server.pem is not a PEM file with a certificate" in said
        certificate(tmp_path, later.issue_cert("127.0.0.1"))
        process.send_signal(signal.SIGHUP)
        line_with(process, "certificate read again")
        assert listenproto("call", *words, cwd=tmp_path).status == 0
        stop(process)


def figure(text: str, name: str) -> float:
    """The value of a sample in Prometheus' text format."""
    (line,) = [line for line in text.splitlines() if line.startswith(name + " ")]
    return float(line.rpartition(" ")[2])


def test_figures_for_operators_are_on_a_page(tmp_path: Path) -> None:
    words = ["--mode", "streaming", "--echo", "--metrics", "/metrics", "--max-calls", "1"]
    with serving(*words, cwd=tmp_path) as (url, process):
        port = int(url.rpartition(":")[2].rstrip("/"))
        page = f"http://127.0.0.1:{port}/metrics"

        def look() -> str:
            with urllib.request.urlopen(page) as answer:
                assert answer.headers["Content-Type"].startswith("text/plain")
                text: str = answer.read().decode()
                return text

        assert figure(look(), "listenproto_calls_open") == 0
        with connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)]) as caller:
            caller.send('{"sampleRate": 8000, "mixType": "mono"}')
            caller.send(bytes(320))
            assert caller.recv() == bytes(320)
            during = look()  # although no more calls are taken
            assert figure(during, "listenproto_calls_open") == 1
            assert figure(during, 'listenproto_messages_total{direction="received"}') == 2
            assert figure(during, 'listenproto_audio_bytes_total{direction="sent"}') == 320
            caller.send("no JSON")
        with connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)]) as caller:
            caller.send(bytes(320))
            with pytest.raises(ConnectionClosed):
                caller.recv()
        line_with(process, "#2 failed")
        after = look()
    assert figure(after, "listenproto_calls_open") == 0
    assert figure(after, 'listenproto_calls_ended_total{reason="closed"}') == 1
    assert figure(after, 'listenproto_calls_ended_total{reason="no_metadata"}') == 1
    assert figure(after, 'listenproto_messages_total{direction="received"}') == 3
    assert figure(after, 'listenproto_audio_bytes_total{direction="received"}') == 320
    assert figure(after, 'listenproto_violations_total{clause="LP-ODD-2"}') == 1
    assert figure(after, "listenproto_samples_dropped_total") == 0
    assert figure(after, "listenproto_call_lateness_seconds_count") == 1
    assert figure(after, "process_resident_memory_bytes") > 0


def test_figures_may_have_a_port_of_their_own(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["--metrics", "/metrics", "--metrics-port", str(port)]
    with serving(*words, cwd=tmp_path) as (url, _):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert figure(answer.read().decode(), "listenproto_calls_open") == 0
        with pytest.raises(HTTPError, match="426"):
            urllib.request.urlopen(url.replace("ws", "http") + "metrics")
        with pytest.raises(InvalidStatus, match="503"):
            connect(f"ws://127.0.0.1:{port}/")
        run = listenproto("serve", "--port", "0", *words, cwd=tmp_path)
        said = f"cannot listen on 127.0.0.1 port {port}: Address already in use"
        assert (run.status, run.complaint) == (1, said)


def test_a_handler_that_fails_is_a_failure_for_operators() -> None:
    metrics = Metrics()
    ended = EndedCall(
        session=AppSession(),
        peer=None,
        end=Ending(EndKind.LEFT, "this end closed it"),
        close_code=1011,
        statistics=Statistics(),
        violations={},
    )
    metrics.ended(ended)
    metrics.ended(attrs.evolve(ended, close_code=1000))
    text = metrics.page()
    assert figure(text, 'listenproto_calls_ended_total{reason="failed"}') == 1
    assert figure(text, 'listenproto_calls_ended_total{reason="left"}') == 1


def test_processes_share_a_port(tmp_path: Path) -> None:
    with serving("--reuse-port", cwd=tmp_path) as (url, _):
        port = url.rpartition(":")[2].rstrip("/")
        with started("serve", "--port", port, "--reuse-port", cwd=tmp_path) as second:
            assert line_with(second, "listening on ").split()[-1] == url
        run = listenproto("serve", "--port", port, cwd=tmp_path)
    assert run.complaint == f"cannot listen on 127.0.0.1 port {port}: Address already in use"


@contextmanager
def inheriting(sock: socket.socket) -> Iterator[subprocess.Popen[str]]:
    """``listenproto serve`` with an open socket, as a supervisor starts it."""
    descriptor = sock.fileno()
    words = [*COMMAND, "serve", "--fd", str(descriptor)]
    piped: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, pass_fds=[descriptor], **piped) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_socket_is_taken_over_that_is_open_already(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock, inheriting(sock) as process:
        url = f"ws://127.0.0.1:{sock.getsockname()[1]}/"
        assert process.stdout is not None
        assert process.stdout.readline() == f"listening on {url}\n"
        assert listenproto("call", url, *FAST, cwd=tmp_path).status == 0
        process.terminate()
        assert process.wait() == 0


def test_a_unix_socket_is_taken_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "listen"))
        sock.listen()
        with inheriting(sock) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == f"listening on {tmp_path}/listen, path /\n"


def test_what_is_no_listening_socket_is_told(tmp_path: Path) -> None:
    with socket.socket() as sock, inheriting(sock) as process:
        _, err = process.communicate()
        assert "is not a listening socket" in err
    said = "Invalid value for --fd: 999 is not a socket (Bad file descriptor); "
    run = listenproto("serve", "--fd", "999", cwd=tmp_path)
    assert (run.status, run.complaint) == (2, said + "pass the number of an open one")


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Path:
    """A folder of certificates and keys, some of which do not fit."""
    folder = tmp_path_factory.mktemp("identities")
    issued, other = (authority.issue_cert("127.0.0.1") for _ in range(2))
    (folder / "cert.pem").write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    other.private_key_pem.write_to_path(folder / "other.pem")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    for name, form in (
        ("locked.pem", PrivateFormat.PKCS8),
        ("old.pem", PrivateFormat.TraditionalOpenSSL),
    ):
        secret = key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret"))
        (folder / name).write_bytes(secret)
    whole = issued.private_key_pem.bytes().splitlines(keepends=True)
    (folder / "cut.pem").write_bytes(b"".join([*whole[:2], *whole[-1:]]))
    return folder


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (
            ["cert.pem"],
            "--certfile: cert.pem has no private key in it; pass that with --keyfile FILE",
        ),
        (["key.pem"], "--certfile: key.pem is not a PEM file with a certificate"),
        (["key.pem", "cert.pem"], "--certfile: key.pem is not a PEM file with a certificate"),
        (["cert.pem", "cert.pem"], "--keyfile: cert.pem is not a PEM file with a private key"),
        (["both.pem", "cut.pem"], "--keyfile: cut.pem is not a PEM file with a private key"),
        (
            ["cert.pem", "other.pem"],
            "--keyfile: the key in other.pem does not match the certificate in cert.pem",
        ),
        (
            ["cert.pem", "locked.pem"],
            "--keyfile: the private key in locked.pem is encrypted; use one without a password",
        ),
        (
            ["cert.pem", "old.pem"],
            "--keyfile: the private key in old.pem is encrypted; use one without a password",
        ),
    ],
)
def test_what_is_wrong_with_a_certificate_or_its_key_is_told_apart(
    files: list[str], says: str, identities: Path
) -> None:
    options = ["--certfile", "--keyfile"][: len(files)]
    words = [word for pair in zip(options, files, strict=True) for word in pair]
    run = listenproto("serve", *words, cwd=identities)
    assert (run.status, run.complaint) == (2, f"Invalid value for {says}")


def test_a_certificate_for_somebody_else_or_of_the_past_is_refused(
    tmp_path: Path, authority: trustme.CA
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    past = datetime.datetime(2020, 1, 1)
    for issued, says in (
        (authority.issue_cert("app.example"), "IP address mismatch"),
        (authority.issue_cert("127.0.0.1", not_before=past, not_after=past), "has expired"),
    ):
        with serving(*certificate(tmp_path, issued), cwd=tmp_path) as (url, _):
            run = listenproto("call", url, "--cafile", "ca.pem", *FAST, cwd=tmp_path)
        assert run.status == 1
        assert says in run.complaint


def test_a_full_disk_costs_the_recording_alone(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        words = ["--mode", "streaming", "--record", "disk", "--trace", "disk/traces", "--echo"]
        with serving(*words, cwd=tmp_path) as (url, process):
            called = ["--mode", "streaming", "--heard", "disk/heard.wav", "--speed", "4"]
            run = listenproto("call", url, *called, cwd=tmp_path)
            assert run.status == 1
            (failure,) = run.err.splitlines()
            assert failure.startswith("listenproto: disk/heard.wav is incomplete: No space left")
            assert "hangup" in run.out
            out, err = stop(process, status=1)
        assert "No space left" in out + err
        said = "No space left on device: call summary not written\n"
        (told,) = (line for line in out.splitlines(keepends=True) if line.endswith(said))
        assert told.startswith("#1 recording disk/")
        assert "calls: 1, failed: 0, incomplete files: 3\n" in out
        recorded = [path for path in disk.glob("*.wav") if path.name != "heard.wav"]
        for path in (*recorded, disk / "heard.wav"):
            assert parse_wav(path.read_bytes()).pcm


@pytest.mark.parametrize("option", ["--record", "--trace"])
def test_a_folder_that_cannot_be_written_is_told_before_any_call(
    option: str, tmp_path: Path
) -> None:
    with small_disk(tmp_path) as disk:
        (disk / "there").mkdir()
        (disk / "big").write_bytes(bytes(64 * 1024))
        run = listenproto("serve", option, "disk/there", cwd=tmp_path)
        said = f"Invalid value for {option}: cannot write files in disk/there: "
        assert (run.status, run.out, run.complaint) == (2, "", f"{said}No space left on device")
        (disk / "big").unlink()
        assert [*(disk / "there").iterdir()] == []
        make_read_only(disk)
        for folder in ("there", "new"):
            run = listenproto("serve", option, f"disk/{folder}", cwd=tmp_path)
            said = f"Invalid value for {option}: cannot write files in disk/{folder}: "
            assert (run.status, run.complaint) == (2, f"{said}Read-only file system")
    run = listenproto("serve", option, "/proc/listenproto", cwd=tmp_path)
    assert (run.status, run.out) == (2, "")
    assert run.complaint.startswith(f"Invalid value for {option}: cannot write files in /proc/")


def test_folders_for_files_are_made_at_the_start(tmp_path: Path) -> None:
    with serving("--record", "deep/rec", "--trace", "deep/traces", cwd=tmp_path):
        assert [*(tmp_path / "deep" / "rec").iterdir()] == []
        assert [*(tmp_path / "deep" / "traces").iterdir()] == []


def test_a_folder_that_can_be_written_no_more_costs_the_files_alone(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        words = ["--record", "disk/rec", "--trace", "disk/traces"]
        with serving(*words, cwd=tmp_path) as (url, process):
            make_read_only(disk)
            run = listenproto("call", url, *FAST, cwd=tmp_path)
            assert (run.status, run.err) == (0, "")
            out, err = stop(process, status=1)
        run = listenproto("call", url, "--heard", "disk/heard.wav", cwd=tmp_path)
    said = [line for line in (out + err).splitlines() if "Read-only file system" in line]
    assert len(said) == 2
    assert all(line.startswith("#1 ") and "disk/" in line for line in said)
    assert (run.status, run.complaint) == (1, "cannot write disk/heard.wav: Read-only file system")


def test_output_on_a_full_disk_costs_no_call(tmp_path: Path) -> None:
    with (
        open("/dev/full", "w") as full,
        started(
            "serve", "--port", "0", "--record", "rec", "--json", cwd=tmp_path, out=full
        ) as process,
    ):
        url = line_with(process, "listening on ", on_stderr=True).split()[-1]
        for _ in range(2):
            assert listenproto("call", url, *FAST, cwd=tmp_path).status == 0
        process.terminate()
        _, err = process.communicate()
    assert process.returncode == 1
    assert err.count("listenproto: cannot write output: No space left") == 1
    assert len([*(tmp_path / "rec").glob("*.wav")]) == 2


def test_a_trace_is_closed_with_its_call_and_a_lost_one_costs_no_other(tmp_path: Path) -> None:
    with serving("--trace", "folder/traces", cwd=tmp_path) as (url, process):
        (tmp_path / "folder" / "traces").rmdir()
        (tmp_path / "folder").rmdir()
        (tmp_path / "folder").write_text("in the way")
        assert listenproto("call", url, *FAST, cwd=tmp_path).status == 0
        (tmp_path / "folder").unlink()
        for _ in range(3):
            assert listenproto("call", url, *FAST, cwd=tmp_path).status == 0
        line_with(process, "wrote folder/traces/call-4.trace.jsonl")
        held = [os.readlink(path) for path in Path(f"/proc/{process.pid}/fd").iterdir()]
        assert [path for path in held if path.endswith("call-2.trace.jsonl")] == []
        out, _ = stop(process, status=1)
    assert len([*(tmp_path / "folder" / "traces").iterdir()]) == 3
    assert "calls: 4, failed: 0, incomplete files: 1\n" in out


@contextmanager
def opened(url: str) -> Iterator[ClientConnection]:
    """A WebSocket to an app, for whatever a platform may send."""
    with connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None) as websocket:
        yield websocket


@pytest.mark.parametrize(
    ("frame", "says", "failed"),
    [
        (b"\x88\x82\0\0\0\0\x03\xe8", "over: the other end closed with 1000", 0),
        (b"\x88\x80\0\0\0\0", "over: the other end closed with 1005", 0),
        (b"\x88\x82\0\0\0\0\x03\xe9", "over: the other end closed with 1001", 0),
        (b"\x88\x85\0\0\0\0\x03\xf1big", "failed: the other end closed with 1009 (big)", 1),
    ],
)
def test_a_platform_that_closes_and_is_not_done_has_failed(
    frame: bytes, says: str, failed: int, tmp_path: Path
) -> None:
    with serving("--json", cwd=tmp_path) as (url, process):
        with opened(url) as platform:
            platform.send('{"callSid":"c"}')
            line_with(process, "#1 call from", on_stderr=True)
            platform.socket.sendall(frame)
            assert line_with(process, "#1 ", on_stderr=True) == f"#1 {says}\n"
        out, err = stop(process)
    assert json.loads(out)["failed"] is bool(failed)
    assert err.endswith(f"calls: 1, failed: {failed}\n")


@pytest.mark.parametrize("said", ["hello", bytes(320), None], ids=["text", "audio", "nothing"])
def test_the_trace_of_what_never_was_a_call_is_named(
    said: str | bytes | None, tmp_path: Path
) -> None:
    with serving("--trace", "traces", "--grace", "0", cwd=tmp_path) as (url, process):
        with opened(url) as odd:
            if said is not None:
                odd.send(said)
                with suppress(ConnectionClosed):
                    odd.recv()
        assert line_with(process, "#1").startswith("#1 failed: ")
        assert line_with(process, "#1") == "#1 wrote traces/call-1.trace.jsonl\n"
        with opened(url):
            out, _ = stop(process)
    assert out.count("wrote") == out.count("#2 wrote traces/call-2.trace.jsonl\n") == 1


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        ([], True),
        (["--profile", "deployed"], True),
        (["--profile", "deployed", "--no-salvage"], False),
    ],
)
def test_damaged_metadata_is_taken_unless_an_option_says_no(
    words: list[str], taken: bool, tmp_path: Path
) -> None:
    with serving("--mode", "off", *words, "--record", "rec", cwd=tmp_path) as (url, process):
        with opened(url) as platform:
            platform.send('{"callSid":"c","from":"OBrien"}\'')
            if taken:
                told = line_with(process, "something other than a JSON object follows")
                assert told.startswith("call c from " if words else "#1 platform: LP-META-11: ")
                platform.send(bytes(320))
        line_with(process, "#1 over: " if taken else "#1 failed: ")
    assert (tmp_path / "rec" / "c.wav").exists() is taken


def test_a_platform_that_sends_no_metadata_is_taken_where_an_option_says_what_to_assume(
    tmp_path: Path,
) -> None:
    assumed = ("--assume", "16000,stereo")
    with serving("--mode", "off", *assumed, "--record", "rec", cwd=tmp_path) as (url, process):
        with opened(url) as platform:
            platform.send(bytes(640))
            told = line_with(process, "the platform sent no metadata; 16000 Hz stereo is assumed")
            assert told.startswith("call without a sid from ")
        line_with(process, "#1 wrote")
    recording = parse_wav((tmp_path / "rec" / "unnamed-1.wav").read_bytes())
    assert (recording.rate, recording.channels, len(recording.pcm)) == (16000, 2, 640)


def test_a_call_without_usable_metadata_counts_as_failed(tmp_path: Path) -> None:
    with serving("--json", "--trace", "traces", cwd=tmp_path) as (url, process):
        for said in ("no JSON", '{"sampleRate":44100}'):
            with opened(url) as platform:
                platform.send(said)
                with pytest.raises(ConnectionClosed):
                    platform.recv()
        with opened(url):  # and leaves
            pass
        with pytest.raises(HTTPError, match="426"):
            urllib.request.urlopen(f"http{url[2:]}")
        with pytest.raises(InvalidStatus, match="404"):
            connect(f"{url}else")
        out, err = stop(process)
    calls = [json.loads(line) for line in out.splitlines()]
    assert [call["call"] for call in calls] == [1, 2, 3]
    assert all(call["failed"] and call["call_sid"] is None for call in calls)
    assert [call["messages_received"] for call in calls] == [1, 1, 0]
    assert [call["trace"] for call in calls] == [f"traces/call-{n}.trace.jsonl" for n in (1, 2, 3)]
    assert "not valid JSON" in calls[0]["end"]
    assert calls[2]["end"] == "the platform closed (1000) without sending metadata"
    assert err.endswith("calls: 3, failed: 3\n")


def test_a_lost_call_stands_in_the_table(tmp_path: Path) -> None:
    with serving(cwd=tmp_path) as (url, process):
        with opened(url):
            pass
        line_with(process, "#1 failed: the platform closed (1000) without sending metadata")
        out, _ = stop(process)
    assert "\n   1  failed " in out
    assert out.endswith("calls: 1, failed: 1\n")


def test_a_recording_without_a_callsid_has_the_number_of_its_call(tmp_path: Path) -> None:
    with serving("--record", "rn", "--trace", "rn", cwd=tmp_path) as (url, process):
        for number, sid in enumerate(["good", "", "..", "\u00e9", None], 1):
            with opened(url) as websocket:
                websocket.send(json.dumps({"callSid": sid}))
                line_with(process, f"#{number} call from")
            stem = sid if sid == "good" else f"unnamed-{number}"
            for name in (f"{stem}.wav", f"{stem}.json", f"call-{number}.trace.jsonl"):
                assert line_with(process, "wrote") == f"#{number} wrote rn/{name}\n"


def test_warnings_of_a_call_are_shown_but_its_end_is_told_elsewhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = CallLog(lambda: {"is_call": True})
    with showing_log(Screen()):
        log.info("fine")
        log.warning("the platform plays faster")
        log.warning("it ended", extra={"is_end": True})
    assert capsys.readouterr().out == "the platform plays faster\n"


def test_a_flood_of_one_breach_is_one_line(tmp_path: Path) -> None:
    with serving("--json", cwd=tmp_path) as (url, process):
        with opened(url) as odd:
            odd.send('{"callSid":"c"}')
            for _ in range(1000):
                odd.send("hello")
        _, err = stop(process)
    assert err.count("LP-ODD-2") == 1


def test_an_echo_starts_with_the_first_sample(tmp_path: Path) -> None:
    """Also where the audio comes together with the metadata, before anything else has its turn."""
    metadata = b'{"callSid":"c"}'
    segment = bytes([0x81, 0x80 | len(metadata), 0, 0, 0, 0]) + metadata
    said = [bytes([number, 1]) * 160 for number in range(100)]
    for pcm in said:
        segment += b"\x82\xfe" + len(pcm).to_bytes(2, "big") + bytes(4) + pcm
    with serving("--mode", "streaming", "--echo", cwd=tmp_path) as (url, _):
        for _ in range(10):  # which of several tasks has the first turn is chance
            with opened(url) as platform:
                platform.socket.sendall(segment)
                assert [platform.recv(timeout=10) for _ in said] == said


def test_an_echo_comes_behind_the_files(tmp_path: Path) -> None:
    file = sound(tmp_path, "one.wav", 0.3)
    words = ["--mode", "streaming", "--echo", "--play", file]
    with serving(*words, cwd=tmp_path) as (url, _):
        called = ["--mode", "streaming", "--heard", "heard.wav", "--hangup-after", "1.5"]
        run = listenproto("call", url, *called, cwd=tmp_path)
        assert (run.status, run.err) == (0, "")
    heard = memoryview(parse_wav((tmp_path / "heard.wav").read_bytes()).pcm).cast("h")
    assert sum(sample == 0x1000 for sample in heard) == 2400
    assert peak(bytes(heard[8000:])) > 0


def test_what_real_platforms_would_do_otherwise_is_said(tmp_path: Path) -> None:
    options = ("--mode", "streaming", "--rate", "24000", "--auth", f"alice:{'x' * 85}")
    words = ("--port", "0", *options, "--profile", "deployed")
    with started("serve", *words, cwd=tmp_path) as process:
        line_with(process, "note: wsAuth has a user name and password of 90 bytes")
        line_with(process, "note: bidirectionalAudio.sampleRate is 24000")
        line_with(process, "listening on ")
