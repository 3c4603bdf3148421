"""``listenproto call``, against ``listenproto serve`` where that will do."""

from __future__ import annotations

import http.server
import json
import re
import signal
import socket
import struct
import threading
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from listenproto import (
    AppConnection,
    AppSession,
    HandshakePolicy,
    Request,
    judge_request,
    judge_trace,
)
from listenproto._l16 import peak
from listenproto._wav import Wav, parse_wav, wav_header
from listenproto._wire import ServerWire
from listenproto.recording import read_trace_file
from listenproto.recording._resampling import mono
from listenproto_trio.cli import all_calls
from listenproto_trio.speech import speech
from tests.cli_support import Ran, answering, line_with, listenproto, serving, started
from tests.differing import first_difference

FAST = ("--speed", "20", "--hangup-after", "4")


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an app that echoes in streaming mode."""
    folder = tmp_path_factory.mktemp("streaming")
    with serving("--mode", "streaming", "--echo", cwd=folder) as (url, _):
        yield url


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an app that echoes in clips mode."""
    with serving("--echo", cwd=tmp_path_factory.mktemp("clips")) as (url, _):
        yield url


@contextmanager
def application(status: int = 200, **headers: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An HTTP server that takes actionHooks; gives its URL, and what came."""
    came: list[dict[str, Any]] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            came.append({"path": self.path, **dict(self.headers), "payload": json.loads(body)})
            self.send_response(status)
            for header in headers.items():
                self.send_header(*header)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", came
        finally:
            server.shutdown()
            thread.join()


def verb_file(folder: Path, **options: object) -> Path:
    path = folder / "verb.json"
    path.write_text(json.dumps(options))
    return path


def figures(*words: str | Path, cwd: Path, status: int = 0) -> dict[str, Any]:
    """What a call tells programs of itself."""
    run = listenproto("call", *words, "--json", cwd=cwd)
    assert run.status == status, run
    (call,) = json.loads(run.out)["calls"]
    assert isinstance(call, dict)
    return call


def accepted(connection: socket.socket) -> AppConnection:
    """An app that has taken a call."""
    app = AppConnection(AppSession())
    for event in app.receive(connection.recv(65536)):
        assert isinstance(event, Request)
        app.answer(judge_request(event, HandshakePolicy()))
    connection.sendall(app.data_to_send())
    return app


def read_on(connection: socket.socket) -> None:
    """Take whatever comes, up to the end, and answer nothing of it."""
    with suppress(ConnectionError):
        while connection.recv(65536):
            pass


def test_a_call_is_shown_and_heard_and_on_record(streaming: str, tmp_path: Path) -> None:
    words = ["--mode", "streaming", "--heard", "heard.wav", "--trace", "trace.jsonl", "-v"]
    run = listenproto("call", streaming, *words, *FAST, "--dtmf", "5@1", cwd=tmp_path)
    assert (run.status, run.err) == (0, "")
    assert all(len(line) <= 80 for line in run.out.splitlines())
    for told in ("metadata 8000 Hz", "dtmf 5", "◀── audio", "close 1000", "hangup"):
        assert told in run.out
    assert run.out.endswith("wrote heard.wav\nwrote trace.jsonl\n")
    heard = parse_wav((tmp_path / "heard.wav").read_bytes())
    assert (heard.rate, heard.channels, len(heard.pcm)) == (8000, 1, 4 * 16000)
    assert peak(heard.pcm) > 1000
    recorded = read_trace_file(tmp_path / "trace.jsonl")
    assert judge_trace(recorded) == []
    said = b"".join(
        line.payload
        for line in recorded.lines
        if isinstance(line.payload, bytes) and line.sender.value == "platform"
    )
    assert not first_difference(said, speech()[: 4 * 16000])


def test_figures_are_told_to_programs(clips: str, tmp_path: Path) -> None:
    call = figures(clips, *FAST, cwd=tmp_path)
    assert (call["end"], call["duration"], call["seconds_said"]) == ("hangup", 4, 4.0)
    assert call["app_messages"].keys() == {"PlayAudio"}
    assert call["breaches"] == call["failures"] == call["files"] == []
    assert call["messages_sent"] >= 200


def test_gaps_in_the_apps_audio_are_told(tmp_path: Path) -> None:
    """The app speaks at 8000, and the verb says 16000."""
    (tmp_path / "said.wav").write_bytes(wav_header(3 * 16000, 8000) + speech()[: 3 * 16000])
    with serving("--mode", "streaming", "--play", "said.wav", cwd=tmp_path) as (url, _):
        words = [url, "--mode", "streaming", "--rate", "16000", "--hangup-after", "2"]
        call = figures(*words, cwd=tmp_path)
        assert 0 < call["gaps"] <= 100
        assert 0 < call["seconds_of_gaps"] <= 2
        run = listenproto("call", *words, cwd=tmp_path)
        many = listenproto("call", *words, "--calls", "21", "--ramp", "0", cwd=tmp_path)
    assert re.search(r"^the callers heard \d+ gaps .* in all \(.*\)$", many.out, re.MULTILINE)
    columns, row, told = run.out.splitlines()
    gaps = int(row.split()[columns.split().index("gaps") - 3])
    assert re.fullmatch(rf"the caller heard {gaps} gaps .*, \d\.\d\d s in all \(.*\)", told)


def test_calls_at_the_same_time_have_files_of_their_own(streaming: str, tmp_path: Path) -> None:
    words = ["--mode", "streaming", "--calls", "3", "--heard", "heard.wav", "-v"]
    run = listenproto("call", streaming, *words, *FAST, cwd=tmp_path)
    assert (run.status, run.err) == (0, "")
    names = ["heard-1.wav", "heard-2.wav", "heard-3.wav"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for number, name in enumerate(names, 1):
        assert f"#{number} wrote {name}\n" in run.out
    again = listenproto("call", streaming, *words, *FAST, cwd=tmp_path)
    assert again.status == 2
    assert again.complaint == "heard-1.wav already exists; delete it, or choose another file"


def test_a_load_is_summed_up(streaming: str, tmp_path: Path) -> None:
    words = ["--mode", "streaming", "--calls", "22", "--hangup-after", "0.2", "--ramp", "0"]
    run = listenproto("call", streaming, *words, cwd=tmp_path)
    assert (run.status, run.err) == (0, "")
    said, columns, *rows, load = run.out.partition("the callers heard")[0].splitlines()
    assert said == "of 22 calls, the 20 with the latest sends:"
    assert columns.startswith("call  ended by") and len(rows) == 20
    times = r"\d+\.\d ms \(p50\), \d+\.\d ms \(p99\), \d+\.\d ms \(worst\)"
    assert re.fullmatch(f"22 calls: sends late {times}; round trip {times}; 0.0% dropped", load)
    told = json.loads(listenproto("call", streaming, *words, "--json", cwd=tmp_path).out)
    assert len(told["calls"]) == 22
    load = told["load"]
    assert load["seconds_said"] == pytest.approx(22 * 0.2)
    assert load["seconds_dropped"] == 0
    for name in ("late", "round_trip"):
        assert 0 <= load[f"{name}_p50"] <= load[f"{name}_p99"] <= load[f"{name}_worst"] + 1e-4


def test_a_load_is_told_of_while_it_runs(
    streaming: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(all_calls, "SHOWING", 0.05)
    monkeypatch.setattr(all_calls, "TELLING", 0.05)
    words = ["--mode", "streaming", "--calls", "2", "--hangup-after", "1"]
    run = listenproto("call", streaming, *words, cwd=tmp_path)
    assert re.search(r"^\d s: sends late .*; 0.0% dropped$", run.out, re.MULTILINE)
    monkeypatch.setenv("FORCE_COLOR", "1")  # takes the output for that of a terminal
    run = listenproto("call", streaming, *words, cwd=tmp_path)
    assert re.search("2 calls: .*sends late", run.out)


@pytest.mark.parametrize("profile", ["documented", "deployed"])
@pytest.mark.parametrize(
    ("rate", "channels", "mix"),
    [(44100, 2, "mono"), (22050, 1, "stereo"), (48000, 6, "mixed"), (16000, 1, "mono")],
)
def test_audio_of_any_rate_and_channels_is_said(
    streaming: str, tmp_path: Path, rate: int, channels: int, mix: str, profile: str
) -> None:
    frame = (3000).to_bytes(2, "little") * channels
    loud = wav_header(2 * channels * 2 * rate, rate, channels) + frame * 2 * rate
    (tmp_path / "loud.wav").write_bytes(loud)
    both_ways = {"streaming": True, "sampleRate": 16000}
    verb = verb_file(tmp_path, mixType=mix, sampleRate=16000, bidirectionalAudio=both_ways)
    words = ["--verb", verb, "--audio", "loud.wav", "--speed", "20", "--trace", "trace.jsonl"]
    if mix != "mono":
        words += ["--audio-far", "loud.wav"]
    call = figures(streaming, *words, "--profile", profile, cwd=tmp_path)
    assert call["seconds_said"] == 2.0
    said = b"".join(
        line.payload
        for line in read_trace_file(tmp_path / "trace.jsonl").lines
        if isinstance(line.payload, bytes) and line.sender.value == "platform"
    )
    sent = 2 if mix == "stereo" else 1
    assert len(said) == 2 * 16000 * 2 * sent
    middle = memoryview(said).cast("h")[16000 * sent : 16000 * sent + 100]
    level = 6000 if mix == "mixed" else 3000
    assert all(abs(sample - level) < 50 for sample in middle)


@given(st.lists(st.tuples(*[st.integers(-(2**15), 2**15 - 1)] * 2), max_size=30))
@example([(1, 2), (-1, -2), (0, -1), (2**15 - 1, 2**15 - 1), (-(2**15), -(2**15))])
def test_a_command_mixes_down_as_the_platform_does(frames: list[tuple[int, int]]) -> None:
    pcm = b"".join(struct.pack("<2h", *frame) for frame in frames)
    assert mono(pcm, 2).tobytes() == Wav(pcm, 8000, 2).mono()


def test_a_far_party_needs_a_verb_that_hears_it(tmp_path: Path) -> None:
    (tmp_path / "far.wav").write_bytes(wav_header(16000, 8000) + bytes(16000))
    run = listenproto("call", "ws://127.0.0.1:1/", "--audio-far", "far.wav", cwd=tmp_path)
    assert run.status == 2
    assert "stereo or mixed" in run.complaint


@pytest.mark.parametrize(
    ("options", "words", "end", "digits"),
    [
        ({"finishOnKey": "#"}, ["--dtmf", "5@0.5,#@1"], "key", "#"),
        ({"maxLength": 1.5}, [], "maxLength", None),
        ({"timeout": 1}, ["--audio", "silence.wav"], "timeout", None),
        ({"playBeep": True, "passDtmf": True, "metadata": {"a": 1}}, [], "hangup", None),
    ],
)
def test_the_verb_is_obeyed_and_its_result_is_posted(
    clips: str,
    tmp_path: Path,
    options: dict[str, object],
    words: list[str],
    end: str,
    digits: str | None,
) -> None:
    (tmp_path / "silence.wav").write_bytes(wav_header(64000, 8000) + bytes(64000))
    with application() as (base, came):
        verb = verb_file(tmp_path, actionHook=f"{base}/done", **options)
        call = figures(clips, "--verb", verb, *words, *FAST, cwd=tmp_path)
    assert (call["end"], call["digits"]) == (end, digits)
    (hooked,) = came
    assert hooked["path"] == "/done"
    payload = hooked["payload"]
    assert payload["call_sid"] == call["call_sid"]
    assert payload["dial_call_duration"] == call["duration"]
    assert payload.get("digits") == digits
    assert call["action_hook"] == {"url": f"{base}/done", "status": 200}


def test_keys_reach_the_app_only_where_the_verb_passes_them(tmp_path: Path) -> None:
    with serving("--record", "rec", cwd=tmp_path) as (url, process):
        for number, options in enumerate(({"passDtmf": True}, {"passDtmf": False}, {})):
            verb = verb_file(tmp_path, metadata={"number": number}, **options)
            words = ["--verb", verb, "--dtmf", "5@0.5,#@1"]
            run = listenproto("call", url, *words, *FAST, cwd=tmp_path)
            assert (run.status, run.err) == (0, "")
        for _ in range(3):
            line_with(process, "over: ")
        process.terminate()
        process.communicate()
    heard = {}
    for path in (tmp_path / "rec").glob("*.json"):
        sidecar = json.loads(path.read_text())
        keys = [key["digit"] for key in sidecar["keys"]]
        heard[sidecar["metadata"]["number"]] = keys
    assert heard == {0: ["5", "#"], 1: [], 2: []}


def test_what_real_platforms_would_do_otherwise_is_said(clips: str, tmp_path: Path) -> None:
    verb = tmp_path / "verb.json"
    verb.write_text('{"listen": {"finishOnKey": "12"}}')
    said = "note: finishOnKey is '12'"
    options = (clips, "--verb", str(verb), *FAST)
    assert said in listenproto("call", *options, "--profile", "deployed", cwd=tmp_path).out
    assert said not in listenproto("call", *options, cwd=tmp_path).out


def test_the_beep_is_heard_first(clips: str, tmp_path: Path) -> None:
    verb = verb_file(tmp_path, playBeep=True)
    words = ["--verb", verb, "--heard", "heard.wav", "--speed", "20", "--hangup-after", "1"]
    figures(clips, *words, cwd=tmp_path)
    heard = parse_wav((tmp_path / "heard.wav").read_bytes())
    assert len(heard.pcm) == 24000
    assert peak(heard.pcm[:8000]) > 8000
    assert peak(heard.pcm[8000:]) == 0


def test_a_listen_in_a_dial_has_no_way_back(streaming: str, tmp_path: Path) -> None:
    """So what the app sends is reported, unless the platform is one of those."""
    words = ["--mode", "streaming", "--nested-in-dial", *FAST]
    call = figures(streaming, *words, cwd=tmp_path, status=1)
    assert {breach["clause"] for breach in call["breaches"]} == {"LP-STRM-1"}
    assert call["seconds_heard"] == 0
    slower = ("--speed", "5")  # the app needs some real time to answer in
    call = figures(streaming, *words, "--bidirectional-in-dial", *slower, cwd=tmp_path)
    assert call["seconds_heard"] > 2


def choosing(subprotocol: str | None) -> Callable[[socket.socket], None]:
    """An app that accepts with that subprotocol, whatever was offered, and then only reads."""

    def answer(connection: socket.socket) -> None:
        wire = ServerWire()
        wire.feed(connection.recv(65536))
        assert [*wire.events()]
        wire.accept(None)
        head = wire.data_to_send()
        if subprotocol is not None:
            named = f"Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n".encode()
            head = head.removesuffix(b"\r\n") + named
        connection.sendall(head)
        while not wire.finished:
            wire.feed(connection.recv(65536))
            for _ in wire.events():
                pass
            connection.sendall(wire.data_to_send())

    return answer


def test_an_app_without_a_subprotocol_is_refused_with_what_helps(tmp_path: Path) -> None:
    words = ["--hangup-after", "0.1"]
    with answering(choosing(None)) as url:
        run = listenproto("call", url, *words, cwd=tmp_path)
    assert run.status == 1
    assert run.complaint == (
        f"the call to {url[5:-1]} failed: the server chose no subprotocol; this end offered "
        "audio.jambonz.org [LP-HS-5]; offer one that it knows with --subprotocol NAME (jambonz's "
        "SDK knows audio.drachtio.org), or accept none with --allow-no-subprotocol"
    )
    with answering(choosing(None)) as url:
        run = listenproto("call", url, "--allow-no-subprotocol", *words, cwd=tmp_path)
    assert (run.status, run.err) == (0, "")


def test_an_app_with_another_subprotocol_is_refused_with_what_helps(tmp_path: Path) -> None:
    words = ["--hangup-after", "0.1"]
    with answering(choosing("other")) as url:
        run = listenproto("call", url, *words, cwd=tmp_path)
    assert run.status == 1
    assert "the server chose subprotocol 'other'" in run.complaint
    assert run.complaint.endswith("; offer the server's choice with --subprotocol NAME")
    with answering(choosing("other")) as url:
        offered = ["--subprotocol", "audio.jambonz.org", "--subprotocol", "other"]
        run = listenproto("call", url, *offered, *words, cwd=tmp_path)
    assert (run.status, run.err) == (0, "")


def test_subprotocols_are_offered_in_their_order(tmp_path: Path) -> None:
    offered: list[tuple[str, ...]] = []

    def leave(connection: socket.socket) -> None:
        wire = ServerWire()
        wire.feed(connection.recv(65536))
        (request,) = wire.events()
        assert isinstance(request, Request)
        offered.append(request.subprotocols)

    with answering(leave) as url:
        words = ["--subprotocol", "second", "--subprotocol", "first"]
        assert listenproto("call", url, *words, cwd=tmp_path).status == 1
    assert offered == [("second", "first")]


def test_an_action_hook_that_is_refused_fails_the_call(clips: str, tmp_path: Path) -> None:
    with application(status=500) as (base, _):
        hook = {"url": f"{base}/done?token=secret", "username": "user", "password": "secret"}
        verb = verb_file(tmp_path, actionHook=hook)
        run = listenproto("call", clips, "--verb", verb, *FAST, cwd=tmp_path)
    assert run.status == 1
    said = f"actionHook {base}/done: answered 500 Internal Server Error; 2xx was expected"
    assert run.complaint == said
    verb = verb_file(tmp_path, actionHook="/done")
    run = listenproto("call", clips, "--verb", verb, *FAST, cwd=tmp_path)
    assert run.status == 1  # a relative one is on the server of the URL, which takes calls alone
    assert run.complaint.startswith(f"actionHook http{clips[2:]}done: answered 426")


def test_an_action_hook_that_redirects_says_where_to(clips: str, tmp_path: Path) -> None:
    with application(status=308, Location="https://me:secret@app.example/done") as (base, _):
        verb = verb_file(tmp_path, actionHook=f"{base}/done")
        run = listenproto("call", clips, "--verb", verb, *FAST, cwd=tmp_path)
    assert run.status == 1
    assert run.complaint == (
        f"actionHook {base}/done: answered 308 Permanent Redirect, a redirect: use "
        "'https://***@app.example/done' instead"
    )


def test_an_action_hook_that_redirects_nowhere_gives_no_url(clips: str, tmp_path: Path) -> None:
    with application(status=308, Location="") as (base, _):
        verb = verb_file(tmp_path, actionHook=f"{base}/done")
        run = listenproto("call", clips, "--verb", verb, *FAST, cwd=tmp_path)
    assert run.complaint == (
        f"actionHook {base}/done: answered 308 Permanent Redirect; 2xx was expected"
    )


def test_an_action_hook_is_told_of_a_call_that_was_not_connected(tmp_path: Path) -> None:
    with application() as (base, came):
        verb = verb_file(tmp_path, actionHook=f"{base}/done")
        run = listenproto("call", "ws://127.0.0.1:1/", "--verb", verb, cwd=tmp_path)
    assert run.status == 1
    assert "127.0.0.1:1" in run.complaint
    assert "dial_call_duration" not in came[0]["payload"]


def test_an_interrupt_hangs_up(streaming: str, tmp_path: Path) -> None:
    words = ["--mode", "streaming", "--heard", "heard.wav", "-v"]
    with started("call", streaming, *words, cwd=tmp_path) as process:
        line_with(process, "metadata")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "hanging up; press Ctrl-C again to end at once\n" in out
    assert "hangup" in out
    with wave.open(str(tmp_path / "heard.wav")) as wav:
        assert wav.getframerate() == 8000


def test_an_interrupt_gives_up_who_does_not_answer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}/"
        with started("call", url, cwd=tmp_path) as process:
            connection, _ = silent.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                _, err = process.communicate()
    assert (process.returncode, err) == (
        1,
        "listenproto: the call was given up before it was answered\n",
    )


def test_an_interrupt_gives_up_an_action_hook_that_does_not_answer(
    clips: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hook = f"http://127.0.0.1:{silent.getsockname()[1]}/done"
        words = ["--verb", verb_file(tmp_path, actionHook=hook), "--heard", "heard.wav"]
        words += ["--trace", "trace.jsonl"]
        with started("call", clips, *words, *FAST, cwd=tmp_path) as process:
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(65536).startswith(b"POST /done ")
                process.send_signal(signal.SIGINT)
                out, err = process.communicate()
    assert process.returncode == 1
    assert err == "listenproto: the actionHook was given up\n"
    assert out.startswith("hanging up; press Ctrl-C again to end at once\n")
    assert out.endswith("wrote heard.wav\nwrote trace.jsonl\n")
    assert len(parse_wav((tmp_path / "heard.wav").read_bytes()).pcm) == 4 * 16000
    assert judge_trace(read_trace_file(tmp_path / "trace.jsonl")) == []


def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    """Here the app answers no close, so that hanging up would take its time."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"ws://127.0.0.1:{server.getsockname()[1]}/"
        with started("call", url, "-v", cwd=tmp_path) as process:
            connection, _ = server.accept()
            with connection:
                accepted(connection)
                line_with(process, "metadata")
                process.send_signal(signal.SIGINT)
                line_with(process, "hanging up")
                process.send_signal(signal.SIGINT)
                _, err = process.communicate()
    assert (process.returncode, err) == (130, "listenproto: interrupted\n")


def hooked_by(answer: Callable[[socket.socket], None], clips: str, folder: Path) -> Ran:
    """A call whose actionHook has such an answer."""
    with answering(answer) as url:
        verb = verb_file(folder, actionHook=url.replace("ws:", "http:"))
        return listenproto("call", clips, "--verb", verb, *FAST, cwd=folder)


def test_an_action_hook_may_say_whatever_it_likes_behind_its_head(
    clips: str, tmp_path: Path
) -> None:
    """Its answer is not read: so an endless one is none of the caller's business."""

    def endless(connection: socket.socket) -> None:
        connection.recv(65536)
        with suppress(ConnectionError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                connection.sendall(bytes(65536))

    run = hooked_by(endless, clips, tmp_path)
    assert (run.status, run.err) == (0, "")


def test_an_action_hook_that_is_not_there_is_told(clips: str, tmp_path: Path) -> None:
    verb = verb_file(tmp_path, actionHook="http://127.0.0.1:1/done")
    run = listenproto("call", clips, "--verb", verb, *FAST, cwd=tmp_path)
    assert run.status == 1
    assert run.complaint == "actionHook http://127.0.0.1:1/done: Connection refused"


def test_an_action_hook_can_be_got(clips: str, tmp_path: Path) -> None:
    def answer(connection: socket.socket) -> None:
        asked.append(connection.recv(65536).decode().splitlines()[0])
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    asked: list[str] = []
    with answering(answer) as url:
        own = "?token=a%26b&call_sid=other"
        hook = {"url": url.replace("ws:", "http:") + own, "method": "GET"}
        verb = verb_file(tmp_path, actionHook=hook)
        run = listenproto("call", clips, "--verb", verb, *FAST, cwd=tmp_path)
    assert (run.status, run.err) == (0, "")
    (line,) = asked
    assert line.startswith("GET /?token=a%26b&call_sid=")
    assert "=other" not in line
    assert "&dial_call_duration=4 HTTP" in line


def test_an_action_hook_that_becomes_too_long_is_told(clips: str, tmp_path: Path) -> None:
    hook = {"url": f"/?{'a' * 65500}", "method": "GET"}
    verb = verb_file(tmp_path, actionHook=hook)
    run = listenproto("call", clips, "--verb", verb, *FAST, cwd=tmp_path)
    assert run.status == 1
    assert run.complaint.startswith(f"actionHook http{clips[2:]}: ")
    assert "too long" in run.complaint


def test_credentials_of_the_environment_give_way_to_the_verbs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTENPROTO_AUTH", "user:secret")
    with serving("--auth", "user:secret", cwd=tmp_path) as (url, _):
        run = listenproto("call", url, *FAST, cwd=tmp_path)
        assert (run.status, run.err) == (0, "")
        verb = verb_file(tmp_path, wsAuth={"username": "user", "password": "other"})
        run = listenproto("call", url, "--verb", verb, *FAST, cwd=tmp_path)
        assert "401" in run.complaint
        run = listenproto("call", url, "--verb", verb, "--auth", "user:secret", *FAST, cwd=tmp_path)
        assert (run.status, run.err) == (0, "")


def test_the_ladders_of_ten_calls_stand_in_one_column(streaming: str, tmp_path: Path) -> None:
    words = ["--mode", "streaming", "--calls", "10", "--speed", "20", "--hangup-after", "1"]
    run = listenproto("call", streaming, *words, "-v", cwd=tmp_path)
    assert (run.status, run.err) == (0, "")
    rungs = [line for line in run.out.splitlines() if "──" in line]
    assert {line.split()[0] for line in rungs} == {f"#{number}" for number in range(1, 11)}
    assert {line.index(".") for line in rungs} == {len("#1    0")}
    assert all(len(line) <= 80 for line in rungs)


def test_the_same_breach_is_told_once(streaming: str, tmp_path: Path) -> None:
    """Here the call is in clips mode, and the app in streaming mode."""
    run = listenproto("call", streaming, *FAST, cwd=tmp_path)
    assert run.status == 1
    assert run.complaint.startswith("the app broke LP-STRM-1: ")
    helps = "place the call with --mode streaming, or with such a verb in --verb"
    assert run.complaint.endswith(f" times); {helps}")


def test_an_app_that_plays_in_a_dial_is_told_of_with_what_helps(
    streaming: str, tmp_path: Path
) -> None:
    words = ["--mode", "streaming", "--nested-in-dial", *FAST]
    run = listenproto("call", streaming, *words, cwd=tmp_path)
    assert run.status == 1
    assert run.complaint.endswith("in a dial, pass --bidirectional-in-dial")


def test_what_goes_wrong_without_a_breach_is_noted_once(tmp_path: Path) -> None:
    def answer(connection: socket.socket) -> None:
        accepted(connection)
        connection.sendall(b'\x81\x10{"type":"error"}' * 2 + b"\x88\x02\x03\xe8")
        read_on(connection)

    words = ["--profile", "deployed", *FAST]
    note = "'error' ends the verb, but not the connection; send a disconnect instead"
    with answering(answer) as url:
        run = listenproto("call", url, *words, cwd=tmp_path)
    assert (run.status, run.complaint) == (1, "the app ended the verb with an 'error'")
    assert run.out.splitlines().count(f"note: {note}") == 1
    with answering(answer) as url:
        run = listenproto("call", url, *words, "--json", cwd=tmp_path)
    (call,) = json.loads(run.out)["calls"]
    assert call["notes"] == [note]


def test_an_app_that_breaks_websocket_is_told_by_name(tmp_path: Path) -> None:
    def answer(connection: socket.socket) -> None:
        accepted(connection)
        connection.sendall(b"\x81\x01\xff")  # text that is no UTF-8
        read_on(connection)

    with answering(answer) as url:
        run = listenproto("call", url, *FAST, cwd=tmp_path)
    assert run.status == 1
    peer = url.removeprefix("ws://").rstrip("/")
    assert run.complaint.startswith(f"the call to {peer} failed: ")
    assert "UTF-8" in run.complaint


@pytest.mark.parametrize(
    ("frame", "closed", "failures"),
    [
        (b"\x88\x02\x03\xe8", (1000, ""), []),
        (b"\x88\x00", (1005, ""), []),
        (b"\x88\x02\x03\xe9", (1001, ""), ["the app closed with 1001"]),
        (b"\x88\x06\x03\xf3oops", (1011, "oops"), ["the app closed with 1011: oops"]),
    ],
)
def test_an_app_that_closes_and_is_not_done_fails_the_call(
    frame: bytes, closed: tuple[int, str], failures: list[str], tmp_path: Path
) -> None:
    def answer(connection: socket.socket) -> None:
        accepted(connection)
        connection.sendall(frame)
        read_on(connection)

    with answering(answer) as url:
        call = figures(url, cwd=tmp_path, status=1 if failures else 0)
    assert call["end"] == "app closed"
    assert call["closed"] == {"code": closed[0], "reason": closed[1], "clean": True}
    assert call["failures"] == failures


def leave_at_the_close(connection: socket.socket) -> None:
    app = accepted(connection)
    while not app.finished:
        for _ in app.receive(connection.recv(65536)):
            pass  # the answer to the close is never sent


def say_nothing_more(connection: socket.socket) -> None:
    accepted(connection)
    read_on(connection)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (leave_at_the_close, "connection lost"),
        (say_nothing_more, "connection lost: no answer to the close within 5 s"),
    ],
)
def test_an_app_that_answers_no_close_fails_the_call(
    answer: Callable[[socket.socket], None], why: str, tmp_path: Path
) -> None:
    with answering(answer) as url:
        call = figures(url, "--hangup-after", "0", cwd=tmp_path, status=1)
    assert (call["end"], call["failures"]) == ("hangup", [why])
    assert call["closed"] is None or not call["closed"]["clean"]


def leave_during_the_call(connection: socket.socket) -> None:
    accepted(connection)


def test_a_lost_call_has_a_row_of_at_most_80_columns(tmp_path: Path) -> None:
    with answering(leave_during_the_call) as url:
        assert figures(url, *FAST, cwd=tmp_path, status=1)["end"] == "connection lost"
    with answering(leave_during_the_call) as url:
        run = listenproto("call", url, *FAST, cwd=tmp_path)
    assert run.status == 1
    head, row, *_ = run.out.splitlines()
    assert head.split()[:3] == ["call", "ended", "by"]
    assert row.split()[:2] == ["1", "lost"]
    assert len(row) <= 80


def test_a_failure_that_calls_share_is_told_once(tmp_path: Path) -> None:
    run = listenproto("call", "ws://127.0.0.1:1/", "--calls", "20", cwd=tmp_path)
    assert run.status == 1
    assert run.complaint == (
        "20 calls: no connection to 127.0.0.1:1: nothing listens there (Connection refused)"
    )


def test_a_failure_of_one_call_names_it(tmp_path: Path) -> None:
    with serving("--max-calls", "1", cwd=tmp_path) as (url, _):
        words = ["--calls", "2", *FAST]
        run = listenproto("call", url, *words, cwd=tmp_path)
    assert run.status == 1
    assert re.match(r"#[12] 127\.0\.0\.1:\d+ refused the call with 503: ", run.complaint)


def test_an_action_hook_that_is_waited_for_is_told(
    clips: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # takes the output for that of a terminal
    with application() as (base, _):
        verb = verb_file(tmp_path, actionHook=f"{base}/done")
        run = listenproto("call", clips, "--verb", verb, *FAST, cwd=tmp_path)
    assert (run.status, run.err) == (0, "")
    assert "call: waiting for the actionHook" in run.out
