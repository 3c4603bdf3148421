"""Odd messages of either peer: the commands tell of each in one line, and the call goes on."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from listenproto import SUBPROTOCOL
from tests.cli_support import line_with, listenproto, serving

PROTOCOL = Subprotocol(SUBPROTOCOL)
METADATA = '{"callSid":"c","from":"+15550100","sampleRate":8000,"mixType":"mono"}'


def play(**data: object) -> str:
    good = {"audioContent": "AAA=", "audioContentType": "raw", "sampleRate": 8000}
    return json.dumps({"type": "playAudio", "data": good | data})


NO_WAV = base64.b64encode(b"no WAV at all").decode()
NESTED = "[" * 5000 + "]" * 5000
OF_ANY_PEER = {
    "no JSON": ("hello", "LP-ODD-2"),
    "NaN": ('{"type":NaN}', "LP-ODD-2"),
    "half a surrogate": (r'{"type":"\ud800"}', "LP-ODD-2"),
    "nested absurdly": (f'{{"type":"mark","data":{NESTED}}}', "LP-ODD-2"),
    "thousands of digits": (f'{{"type":"mark","data":{"9" * 5000}}}', "LP-ODD-2"),
    "no object": ("[]", "LP-ODD-3"),
}
OF_AN_APP = {
    **OF_ANY_PEER,
    "no data": ('{"type":"playAudio"}', "LP-CLIP-6"),
    "no base64": (play(audioContent="?"), "LP-CLIP-6"),
    "another content": (play(audioContentType="mp3"), "LP-CLIP-7"),
    "another rate": (play(sampleRate=44100), "LP-CLIP-8"),
    "a broken WAV": (play(audioContentType="wav", audioContent=NO_WAV), "LP-CLIP-10"),
    "audio in clips mode": (b"\0\0", "LP-STRM-1"),
    "a mark in clips mode": ('{"type":"mark","data":{"name":"m"}}', "LP-MARK-1"),
    "what a platform says": ('{"event":"dtmf","dtmf":"1","duration":"800"}', "LP-ODD-1"),
}


@contextmanager
def app(said: Sequence[str | bytes]) -> Iterator[str]:
    """An app that says so much once it has the metadata; gives its URL."""

    def answer(websocket: ServerConnection) -> None:
        websocket.recv()
        for one in said:
            websocket.send(one)
        with suppress(ConnectionClosed):
            while True:
                websocket.recv()

    with serve(answer, "127.0.0.1", 0, subprotocols=[PROTOCOL], compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("said", "clause"), OF_AN_APP.values(), ids=OF_AN_APP.keys())
def test_a_breach_of_the_app_is_told_and_the_call_goes_on(
    said: str | bytes, clause: str, tmp_path: Path
) -> None:
    with app([said, play()]) as url:
        words = ["--speed", "20", "--hangup-after", "2", "--json"]
        run = listenproto("call", url, *words, cwd=tmp_path)
    assert run.status == 1
    assert run.complaint.startswith(f"the app broke {clause}: ")
    (call,) = json.loads(run.out)["calls"]
    assert (call["end"], call["app_messages"]["PlayAudio"]) == ("hangup", 1)
    assert len(call["breaches"]) == 1


MODES = {
    "a clip in streaming mode": ("streaming", play(), "LP-CLIP-1"),
    "a clip in off mode": ("off", play(), "LP-CLIP-1"),
    "audio in off mode": ("off", b"\0\0", "LP-STRM-1"),
    "killAudio in off mode": ("off", '{"type":"killAudio"}', "LP-KILL-1"),
    "a mark in off mode": ("off", '{"type":"mark","data":{"name":"m"}}', "LP-MARK-1"),
    "clearMarks in off mode": ("off", '{"type":"clearMarks"}', "LP-MARK-1"),
}


@pytest.mark.parametrize(("mode", "said", "clause"), MODES.values(), ids=MODES.keys())
def test_what_has_no_place_in_a_mode_is_told(
    mode: str, said: str | bytes, clause: str, tmp_path: Path
) -> None:
    with app([said]) as url:
        words = ["--mode", mode, "--speed", "20", "--hangup-after", "2"]
        run = listenproto("call", url, *words, cwd=tmp_path)
    assert run.status == 1
    assert run.complaint.startswith(f"the app broke {clause}: ")
    assert "hangup" in run.out


def platform(url: str) -> ClientConnection:
    return connect(url, subprotocols=[PROTOCOL], compression=None)


def test_a_breach_of_a_platform_is_told_and_all_calls_go_on(tmp_path: Path) -> None:
    with (
        serving("--record", "rec", cwd=tmp_path) as (url, process),
        platform(url) as good,
        platform(url) as odd,
    ):
        for websocket in (good, odd):
            websocket.send(METADATA)
            line_with(process, "call from")
        for said, clause in OF_ANY_PEER.values():
            odd.send(said)
            told = line_with(process, "#2 platform: ")
            assert told.startswith(f"#2 platform: {clause}: ")
        odd.send('{"type":"playAudio"}')
        assert line_with(process, "#2 platform: ")
        for websocket in (good, odd):
            websocket.send(bytes(16000))
            websocket.close()
            line_with(process, "wrote rec/")
        process.terminate()
        _, err = process.communicate()
    assert err == ""
    sidecars = [json.loads(path.read_text()) for path in (tmp_path / "rec").glob("*.json")]
    assert [sidecar["end"]["samples"] for sidecar in sidecars] == [8000, 8000]


OPENINGS = {
    "binary": (bytes(320), 1002),
    "no JSON": ("hello", 1007),
    "cut": (METADATA[:30], 1007),
    "no object": ("[]", 1002),
    "another rate": ('{"sampleRate":11025}', 1002),
    "a rate that is none": ('{"sampleRate":true}', 1002),
    "another mix": ('{"mixType":"both"}', 1002),
}


def test_a_call_without_a_sid_is_told_of_once(tmp_path: Path) -> None:
    with serving(cwd=tmp_path) as (url, process):
        with platform(url) as websocket:
            websocket.send("{}")
            assert line_with(process, "#1") == "#1 call from an unknown caller\n"
        assert line_with(process, "1") == "#1 over: the other end closed with 1000\n"
        process.terminate()
        out, err = process.communicate()
    assert out.startswith("stopping\n")
    assert err == ""


def test_metadata_that_is_none_costs_its_call_alone(tmp_path: Path) -> None:
    with serving("--no-salvage", cwd=tmp_path) as (url, process), platform(url) as good:
        good.send(METADATA)
        line_with(process, "#1 call from")
        for number, (said, code) in enumerate(OPENINGS.values(), 2):
            with platform(url) as odd:
                odd.send(said)
                with pytest.raises(ConnectionClosed) as closed:
                    odd.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == code
            assert "LP-" in line_with(process, f"#{number} failed: ")
        good.close()
        line_with(process, "#1 over: the other end closed with 1000")
