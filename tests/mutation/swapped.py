"""Runs mutants of functions without importing anything anew.

One process imports the package and collects the tests. For each mutant it forks a child, which puts
the mutated code in the place of the function's own and runs the vectors and tests that call the
function; those that killed the latest mutants come first. What changes an import, such as a table,
a class attribute or a default, cannot be run in this way.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

import pytest

from tests.spec import Vector

Changed = list[tuple[list[FunctionType], CodeType]]
"""Functions, and the code that each of them is to have."""

SECONDS: Final = 3.0
"""How long one vector, or one test, may take; a mutant that needs longer is killed by that."""

MEMORY: Final = 4 * 2**30
"""How many bytes a mutant may map."""

PLUGINS: Final = ("cacheprovider", "unraisableexception", "threadexception")
"""What pytest must not load: it would cost time, or blame a test for what this process does."""


def allow(seconds: float) -> None:
    """Kill this process after so many more seconds of its own."""
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)


def in_child(work: Callable[[], Any]) -> Any:
    """What ``work`` returns in a forked process; "timeout" if that is killed."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        os.close(reading)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        try:
            found = work()
        except BaseException as error:
            found = repr(error)
        with os.fdopen(writing, "w") as pipe:
            json.dump(found, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(process, 0)
    return "timeout" if os.WIFSIGNALED(status) else json.loads(said)


class Swapped:
    """The process that has collected the tests in some files, and mutates a module."""

    def __init__(self, module: str, tests: list[str], cases: list[Vector], leave_out: str) -> None:
        requests, mutants = os.pipe()
        found, answers = os.pipe()
        sys.stdout.flush()
        self._process = os.fork()
        if self._process == 0:
            os.close(mutants)
            os.close(found)
            server = _Server(module, cases, os.fdopen(requests), os.fdopen(answers, "w"))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            options = ["-k", f"not ({leave_out})", "-q", "--assert=plain"]
            without = [text for name in PLUGINS for text in ("-p", f"no:{name}")]
            with suppress(SystemExit):
                pytest.main([*options, *without, *tests], plugins=[server])
            os._exit(1)
        os.close(requests)
        os.close(answers)
        self._mutants = os.fdopen(mutants, "w")
        self._found = os.fdopen(found)
        self.fault: Final[str] = self._answer()
        """What fails without a mutation; empty if nothing does."""

    def _answer(self) -> Any:
        line = self._found.readline()
        return json.loads(line) if line else "pytest ends before the first test"

    def outcome(self, source: str) -> str | None:
        """What kills a mutant; empty if nothing does, None if it cannot be run in this way."""
        print(json.dumps(source), file=self._mutants, flush=True)
        found: str | None = self._answer()
        return found

    def close(self) -> None:
        self._mutants.close()
        self._found.close()
        os.waitpid(self._process, 0)


class _Server:
    """The plugin of pytest that runs mutants in the place of the tests."""

    def __init__(self, module: str, cases: list[Vector], requests: Any, answers: Any) -> None:
        self._module = module
        self._file = ""
        self._cases = {str(case["name"]): case for case in cases}
        self._items: dict[str, pytest.Item] = {}
        self._requests = requests
        self._answers = answers

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._items = {item.nodeid: item for item in session.items}
        self._file = str(sys.modules[self._module].__file__)
        calls = in_child(self._measure)
        if isinstance(calls, str):
            self._say(calls)
            return True
        self._say("")
        order = sorted(calls, key=lambda name: calls[name][1])
        with open(self._file) as file:
            original = compile(file.read(), self._file, "exec")
        functions = _functions_of(self._file)
        gc.collect()
        gc.freeze()
        for line in self._requests:
            changed: Changed = []
            mutated = compile(json.loads(line), self._file, "exec")
            if not (_compare(original, mutated, functions, changed) and changed):
                self._say(None)
                continue
            names = {one.__code__.co_qualname for some, _ in changed for one in some}
            concerned = [name for name in order if names & set(calls[name][0])]
            found = in_child(lambda: self._attack(changed, concerned))  # noqa: B023
            if found in calls:
                order.remove(found)
                order.insert(0, found)
            self._say(found)
        return True

    def _say(self, answer: str | None) -> None:
        print(json.dumps(answer), file=self._answers, flush=True)

    def _measure(self) -> Any:
        """Which functions each vector and test calls, and how long it takes; or what fails."""
        calls: dict[str, tuple[list[str], float]] = {}
        for name in [*self._cases, *self._items]:
            seen: set[str] = set()

            def note(frame: FrameType, event: str, arg: object) -> None:
                if event == "call" and frame.f_code.co_filename == self._file:
                    seen.add(frame.f_code.co_qualname.partition(".<locals>")[0])  # noqa: B023

            allow(60)
            start = time.process_time()
            sys.setprofile(note)
            threading.setprofile(note)
            passed = self._passes(name)
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]
            if not passed:
                return name
            calls[name] = [*seen], time.process_time() - start
        return calls

    def _attack(self, changed: Changed, concerned: list[str]) -> str:
        """The first of these vectors and tests that fails with the changed functions."""
        for some, code in changed:
            for one in some:
                one.__code__ = code
        for name in concerned:
            allow(SECONDS)
            if not self._passes(name):
                return name
        return ""

    def _passes(self, name: str) -> bool:
        if name in self._cases:
            from tests.spec.runner import run

            try:
                return not run(self._cases[name])
            except Exception:
                return False
        item = self._items[name]
        hook = item.config.hook
        try:
            hook.pytest_runtest_setup(item=item)
            hook.pytest_runtest_call(item=item)
        except pytest.skip.Exception:
            pass
        except BaseException:
            return False
        try:
            hook.pytest_runtest_teardown(item=item, nextitem=None)
        except BaseException:
            return False
        return True


def _functions_of(path: str) -> Mapping[tuple[str, int], list[FunctionType]]:
    """The functions that stand in a file, by name and line."""
    found: dict[tuple[str, int], list[FunctionType]] = {}
    for one in gc.get_objects():
        if isinstance(one, FunctionType) and one.__code__.co_filename == path:
            place = one.__code__.co_qualname, one.__code__.co_firstlineno
            found.setdefault(place, []).append(one)
    return found


def _compare(
    old: CodeType,
    new: CodeType,
    functions: Mapping[tuple[str, int], list[FunctionType]],
    changed: Changed,
) -> bool:
    """Whether two versions of a module, or of a class, differ in functions only: collect these."""
    if _shape(old, whole=False) != _shape(new, whole=False):
        return False
    for before, after in zip(_nested(old), _nested(new), strict=True):
        if _shape(before) == _shape(after):
            continue
        some = functions.get((before.co_qualname, before.co_firstlineno))
        if some is None:
            if not _compare(before, after, functions, changed):
                return False
        elif before.co_freevars == after.co_freevars:
            changed.append((some, after))
        else:
            return False
    return True


def _nested(code: CodeType) -> list[CodeType]:
    return [one for one in code.co_consts if isinstance(one, CodeType)]


def _shape(code: CodeType, *, whole: bool = True) -> tuple[Any, ...]:
    """What a code does, wherever it stands; without ``whole``, but for the code inside it."""
    return (
        code.co_code,
        code.co_exceptiontable,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_flags,
        code.co_argcount,
        code.co_kwonlyargcount,
        tuple(
            (_shape(one) if whole else one.co_name)
            if isinstance(one, CodeType)
            else (type(one), repr(one))
            for one in code.co_consts
        ),
    )
