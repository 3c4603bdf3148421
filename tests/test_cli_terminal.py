"""The commands on a real terminal: bars that go away, and no line wider than its 80 columns."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli_support import Terminal, listenproto, on_terminal, serving

FAST = ("--speed", "20", "--hangup-after", "2")


@contextmanager
def shown(*words: str | Path, cwd: Path, status: int = 0) -> Iterator[Terminal]:
    """A command that a test sees to its end."""
    with on_terminal(*words, cwd=cwd) as terminal:
        yield terminal
        assert terminal.end() == status, terminal.text
    assert "Traceback" not in terminal.text
    assert [line for line in terminal.lines if len(line) > 80] == []


def test_demo(tmp_path: Path) -> None:
    with shown("demo", "--out", "out", "--speed", "20", cwd=tmp_path) as terminal:
        pass
    for title in ("call 1 of 2, streaming", "call 2 of 2, clips"):
        bars = [line for line in terminal.lines if line.startswith(title)]
        assert any("━" in bar and bar.endswith(" s") for bar in bars), terminal.text
    assert "Every message obeyed the protocol" in terminal.text


def test_call(tmp_path: Path) -> None:
    with serving("--mode", "streaming", "--echo", cwd=tmp_path) as (url, _):
        words = ["--mode", "streaming", "--heard", "heard.wav", "--trace", "trace.jsonl", "-v"]
        with shown("call", url, *words, *FAST, cwd=tmp_path) as terminal:
            pass
    bars = [line for line in terminal.lines if line.startswith("call ") and "━" in line]
    assert any(bar.endswith(" s") for bar in bars), terminal.text
    assert "◀── audio" in terminal.text
    assert "hangup" in terminal.text


def test_serve(tmp_path: Path) -> None:
    words = ["--port", "0", "--echo", "-v", "--record", "rec", "--trace", "traces"]
    with shown("serve", *words, cwd=tmp_path) as terminal:
        url = terminal.wait_for(r"listening on ws://\S+\s").split()[-1]
        terminal.wait_for("no calls yet")
        assert listenproto("call", url, *FAST, cwd=tmp_path).status == 0
        terminal.wait_for(r"calls open: 0, total: 1")
        terminal.process.send_signal(signal.SIGTERM)
    assert "metadata 8000 Hz" in terminal.text
    assert "calls: 1, failed: 0" in terminal.text
