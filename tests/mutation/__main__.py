"""Runs each mutant of a module against the vectors and the module's own tests.

    python -m tests.mutation [MODULE ...] [--sample PERCENT] [--only TEXT] [--log FILE]

Without a module: all of them. Each mutant is run in a process of its own, forked from one that has
imported what does not change. What survives must stand in equivalent.md, with its proof.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.util
import json
import math
import os
import re
import signal
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import attrs
import h11  # noqa: F401
import hypothesis.stateful  # noqa: F401
import jsonschema  # noqa: F401
import pytest
import wsproto  # noqa: F401

from tests.mutation.mutants import mutants
from tests.mutation.swapped import SECONDS, Swapped, allow, in_child
from tests.spec import ROOT, Vector, vectors

TESTS: Final = {
    "rules": ["test_observer", "test_sessions", "spec/test_reference"],
    "pace": ["test_pace", "test_sent", "test_app_call"],
    "sent": ["test_sent", "test_sessions", "test_observer"],
    "clips": ["test_sent", "test_observer", "test_sessions", "test_playout"],
    "app_clips": ["test_app_clips", "test_sent", "test_observer", "test_sessions", "test_playout"],
    "marks": ["test_sent", "test_observer", "test_sessions", "test_playout"],
    "observer": ["test_observer", "test_sessions", "test_sent"],
    "lifecycle": ["test_observer", "test_sessions", "test_sent"],
    "faults": ["test_observer", "test_sessions"],
    "violation": ["test_observer", "test_sessions"],
    "bodies": ["test_codec", "test_sessions"],
    "messages": ["test_messages", "test_codec", "test_observer", "spec/test_reference"],
    "codec": ["test_codec", "test_sessions"],
    "clip_audio": ["test_codec", "test_sessions"],
    "jsontext": ["test_jsontext", "test_codec", "test_webhook"],
    "l16": ["test_l16", "test_codec"],
    "wav": ["test_wav", "test_codec"],
    "framed_stream": ["test_framed_stream", "test_sessions"],
    "playout": ["test_playout", "test_framed_stream", "test_sessions"],
    "platform_session": ["test_sessions", "test_playout", "test_codec"],
    "app_session": ["test_sessions", "test_sent"],
    "session": ["test_sessions", "test_connection"],
    "task": ["test_task", "test_connection"],
    "silence": ["test_task"],
    "listen_result": ["test_task"],
    "handshake": ["test_handshake", "test_connection"],
    "upgrade": ["test_upgrade", "test_handshake", "test_wire"],
    "frames": ["test_frames", "test_wire", "test_connection"],
    "framing": ["test_wire", "test_connection"],
    "speech": ["test_speech", "test_app_call", "test_handler_speaking"],
    "link": ["test_link", "test_app_call", "test_asyncio_call"],
    "sender": ["test_app_call", "test_markers", "test_app_call_search"],
    "markers": ["test_markers_alone"],
    "playback": ["test_waiting", "test_handler_playback"],
    "talking": ["test_markers", "test_app_call", "test_app_call_search"],
    "app_call": ["test_app_call", "test_markers", "test_app_call_search"],
    "account": ["test_app_call"],
    "unread": ["test_unread", "test_app_call"],
    "wire": ["test_wire", "test_upgrade", "test_connection", "test_handshake"],
    "connection": ["test_connection", "test_handshake"],
    "recording/arrivals": ["test_recording_runtimes", "test_trio_recorder_gaps"],
    "recording/both_sides": [
        "test_recording_both_sides",
        "test_recording_runtimes",
        "test_trio_both",
    ],
    "recording/call": ["test_recording_runtimes", "test_trio_recorder"],
    "recording/files": [
        "test_recording_wav",
        "test_recording_trace",
        "test_recording_recovery",
        "test_trio_recorder_files",
    ],
    "recording/gaps": ["test_recording_gaps"],
    "recording/names": ["test_trio_recorder_files"],
    "recording/recorder": [
        "test_recording_runtimes",
        "test_trio_recorder",
        "test_trio_recorder_files",
        "test_trio_recorder_gaps",
    ],
    "recording/recovery": ["test_recording_recovery"],
    "recording/resampling": ["test_recording_both_sides", "test_trio_both"],
    "recording/sidecar": ["test_trio_recorder", "test_trio_recorder_files"],
    "recording/tape": ["test_recording_runtimes", "test_trio_recorder_gaps"],
    "recording/trace_file": ["test_recording_trace", "test_recording_runtimes"],
    "recording/wav_file": ["test_recording_wav", "test_recording_inserts"],
}
"""The modules that are mutated, and the tests that are there to kill their mutants."""

CALLS: Final = (
    "pace",
    "speech",
    "link",
    "sender",
    "markers",
    "talking",
    "app_call",
    "account",
    "unread",
)
"""Modules of which no vector knows, as vectors are conversations without a clock."""

SLOW: Final = (
    "pile_up or schema or model or heard_twice or front_of_what or makes_no_difference or "
    "cost_their_bytes"
)
"""Tests that take a second and more: they run with ``--slow`` alone."""

LARGE: Final = "4_gib or 64_bits"
"""Tests that map a file of more bytes than ``MEMORY``: they cannot run here."""

KNOWN: Final = Path(__file__).with_name("equivalent.md")
LONG: Final = 100
"""From so many messages on a vector is slow: it runs with ``--slow`` alone."""
LOG: Final = "takes a line of JSON for each mutant; what it says was killed is not run again"


@attrs.frozen
class Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a source in the place of a module."""

    name: str
    source: str

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != self.name:
            return None
        place = ROOT / f"{name.replace('.', '/')}.py"
        return importlib.util.spec_from_file_location(name, place, loader=self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.source, str(module.__file__), "exec"), module.__dict__)


def full_name(module: str) -> str:
    """The module by the name under which it is imported."""
    package, _, name = f"listenproto/{module}".rpartition("/")
    return f"{package.replace('/', '.')}._{name}"


class Watch:
    """Gives each test its time, and notes which one fails."""

    failed = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        allow(SECONDS)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = report.nodeid


def killer(module: str, source: str, cases: list[Vector], slow: bool) -> str:
    """What kills a mutant, in this process: a vector or a test; nothing if it survives."""
    sys.meta_path.insert(0, Mutated(full_name(module), source))
    allow(SECONDS)
    try:
        from tests.spec.runner import run
    except Exception as error:
        return f"import: {error!r}"

    def broken(some: list[Vector]) -> str:
        for vector in some:
            allow(SECONDS)
            try:
                if run(vector):
                    return str(vector["name"])
            except Exception:
                return str(vector["name"])
        return ""

    return broken(cases) or tested(module, slow)


def files(module: str) -> list[str]:
    """The module's own tests."""
    return [f"tests/{name}.py" for name in TESTS[module]]


def left_out(slow: bool) -> str:
    """Which tests do not run, as an expression for pytest."""
    return LARGE if slow else f"{LARGE} or {SLOW}"


def tested(module: str, slow: bool) -> str:
    """The first test that fails."""
    watch = Watch()
    allow(SECONDS)
    options = ["-k", f"not ({left_out(slow)})"]
    options += ["-x", "-q", "-p", "no:cacheprovider", "--assert=plain"]
    code = pytest.main([*options, *files(module)], plugins=[watch])
    return "" if code == 0 else watch.failed or f"pytest ends with {code}"


def outcome(module: str, source: str, cases: list[Vector], slow: bool) -> str:
    """What kills a mutant, found out in a process that imports everything."""
    return str(in_child(lambda: killer(module, source, cases, slow)))


def length(vector: Vector) -> int:
    """How many messages a vector has."""
    return sum(step.get("times", 1) for step in vector.get("steps", ()))


def equivalents() -> set[str]:
    """The mutants that equivalent.md proves to be none."""
    return set(re.findall(r"^- `` (.*) ``: \S.*$", KNOWN.read_text(), re.MULTILINE))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(TESTS))
    parser.add_argument("--sample", type=float, default=100.0, metavar="PERCENT")
    parser.add_argument("--only", default="", metavar="TEXT", help="in the name of a mutant")
    parser.add_argument("--slow", action="store_true", help="run the slow tests, too")
    parser.add_argument("--log", type=argparse.FileType("a+"), help=LOG)
    options = parser.parse_args()
    os.environ["LISTENPROTO_EXAMPLES"] = "mutation"
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    known = equivalents()
    before: dict[str, str] = {}
    if options.log:
        options.log.seek(0)
        before.update(map(json.loads, options.log))
    left = 0
    for module in options.modules or TESTS:
        source = (ROOT / f"{full_name(module).replace('.', '/')}.py").read_text()
        without = module.startswith("recording/") or module in CALLS
        longest = math.inf if options.slow else LONG
        cases = [] if without else [case for case in vectors() if length(case) < longest]
        swapped = Swapped(full_name(module), files(module), cases, left_out(options.slow))
        if swapped.fault:
            parser.error(f"without a mutation {module} fails: {swapped.fault}")
        start = time.monotonic()
        total = killed = equivalent = 0
        for mutant, code in mutants(module, source, options.sample):
            if options.only not in mutant.name:
                continue
            total += 1
            found = before.get(mutant.name) or swapped.outcome(code)
            if found is None:
                found = outcome(module, code, cases, options.slow)
            cases.sort(key=lambda vector: vector["name"] != found)
            if options.log and mutant.name not in before:
                print(json.dumps([mutant.name, found]), file=options.log, flush=True)
            if found:
                killed += 1
            elif mutant.name in known:
                equivalent += 1
            else:
                print(f"survived: {mutant.name}", flush=True)
        swapped.close()
        survived = total - killed - equivalent
        left += survived
        seconds = time.monotonic() - start
        print(
            f"{module}: {total} mutants, {killed} killed, {equivalent} equivalent, "
            f"{survived} survived, {seconds:.0f} s",
            flush=True,
        )
    return min(left, 1)


if __name__ == "__main__":
    sys.exit(main())
