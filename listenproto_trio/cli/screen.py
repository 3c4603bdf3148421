"""What the commands print: lines, ladders of messages, tables; or their results as JSON."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Final, NoReturn

import attrs
import click
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from listenproto._link import Tap
from listenproto._logs import log
from listenproto._messages import JSON, Payload, Peer
from listenproto._profile import Profile
from listenproto._trace import Reading, TraceMoment
from listenproto_trio._ladder import Ladder

__all__ = ["Failure", "Screen", "complain", "drop_output", "of_call", "showing_log", "tell_all"]

LONGEST_STRETCH: Final = 2_000_000
"""Longest stretch of audio in one line of a ladder that is printed live, in microseconds."""

of_call: Final = ContextVar("of_call", default="")
"""The prefix of log lines about a call."""

SHORTEST_NUMBER: Final = len("#1 ")
"""Characters that the number of a call takes in front of its ladder, at least."""

MOST: Final = 500
"""Longest line in characters, as a peer or a file may have chosen its words."""


class Failure(click.ClickException):
    """A call or a check that failed: one line, exit status 1."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # not SystemExit, which would end the calls that go on


def complain(line: str) -> None:
    """Print one line about a problem on standard error."""
    with suppress(OSError):  # nobody reads that either
        print(f"listenproto: {_printable(line)}", file=sys.stderr, flush=True)


@attrs.frozen
class Screen:
    """Prints the output of a command.

    With ``as_json``, standard output has only the results, one JSON text a line, and everything
    else goes to standard error. ``verbose`` shows every message. If output cannot be written, as
    on a full disk, the command says so once and goes on; :meth:`exit` then exits with status 1.
    """

    as_json: bool = False
    verbose: bool = False
    console: Console = attrs.field(
        init=False,
        default=attrs.Factory(
            lambda self: _Console(stderr=self.as_json, highlight=False, soft_wrap=True),
            takes_self=True,
        ),
    )
    _lost: list[OSError] = attrs.field(init=False, factory=list)

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """Go on if writing fails in this block."""
        try:
            yield
        except OSError as exc:
            first = not self._lost
            self._lost.append(exc)
            if first and not isinstance(exc, BrokenPipeError):  # the reader of a pipe may leave
                complain(f"cannot write output: {exc.strerror}")

    def exit(self, *, failed: bool = False) -> NoReturn:
        """Exit: with status 1 if something failed or output could not be written, else 0."""
        with self._going_on():
            sys.stdout.flush()
        if self._lost:
            drop_output()
        lost = any(not isinstance(exc, BrokenPipeError) for exc in self._lost)
        sys.exit(int(failed or lost))

    def say(self, line: str, *, style: str = "") -> None:
        """Print one line, without control characters."""
        if not self._lost:
            with self._going_on():
                self.console.print(Text(_printable(line), style=style))

    def figures(self, figures: Mapping[str, JSON]) -> None:
        """Print one JSON text, if JSON was asked for."""
        if self.as_json and not self._lost:
            with self._going_on():
                click.echo(json.dumps(figures, ensure_ascii=False))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table, numbers aligned right; nothing if JSON was asked for."""
        if self.as_json or self._lost:
            return
        rows = [*rows]
        table = Table(box=None, pad_edge=False)
        for index, column in enumerate(columns):
            numbers = all(isinstance(row[index], int | float) for row in rows)
            table.add_column(column, justify="right" if numbers else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(_printable(_shown(cell))) for cell in row))
        width = None if self.console.is_terminal else 80
        with self._going_on():
            self.console.print(table, soft_wrap=False, width=width)

    def ladder(self, profile: Profile, stream_rate: int, prefix: str = "") -> Tap | None:
        """A tap that shows each message as it passes; None if that was not asked for."""
        if not self.verbose:
            return None
        rungs = Ladder(stream_rate, longest=LONGEST_STRETCH)
        reading = Reading(profile)
        started_at: float | None = None

        def show(sender: Peer, payload: Payload | TraceMoment) -> None:
            nonlocal started_at
            now = trio.current_time()
            if started_at is None:
                started_at = now
            at = round((now - started_at) * 1_000_000)
            for message in reading.messages(sender, payload):
                for rung in rungs.rungs(at, sender, message):
                    self.say(_numbered(prefix, rung))

        return show

    def progress(self, title: str, total: float) -> tuple[Progress, TaskID]:
        """A progress bar in seconds that disappears at the end."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.1f} s"),
        )
        hidden = self.as_json or not self.console.is_terminal
        progress = Progress(*columns, console=self.console, transient=True, disable=hidden)
        return progress, progress.add_task(title, total=total)


@contextmanager
def showing_log(screen: Screen, remedies: Mapping[str, str] | None = None) -> Iterator[None]:
    """Show log records that a command does not report itself: refused connections, failures.

    ``remedies`` says what helps if a request is refused, by the clause.
    """
    lines, level = _LogLines(screen, remedies or {}), log.level
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(lines)


class _LogLines(logging.Handler):
    def __init__(self, screen: Screen, remedies: Mapping[str, str]) -> None:
        super().__init__(logging.INFO)
        self._screen = screen
        self._remedies = remedies

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is about a connection without a call, or says what is wrong.

        How a call ended is left out, unless an exception ended it: the command says that itself.
        """
        if getattr(record, "is_call", True) is False or record.levelno >= logging.ERROR:
            return True
        return record.levelno >= logging.WARNING and not getattr(record, "is_end", False)

    def emit(self, record: logging.LogRecord) -> None:
        """Show the record in one line."""
        failure = record.exc_info[1] if record.exc_info else None
        why = f": {failure!r}" if failure else ""
        remedy = self._remedies.get(getattr(record, "refused_by", None) or "")
        helps = f" {remedy}" if remedy else ""
        self._screen.say(f"{of_call.get()}{record.getMessage()}{why}{helps}")


def _numbered(prefix: str, rung: str) -> str:
    """A line of a ladder after the number of its call, which may use the space before the time."""
    spare = len(rung) - len(rung.lstrip())
    return prefix + rung[max(0, min(len(prefix) - SHORTEST_NUMBER, spare)) :]


def _shown(cell: object) -> str:
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)


def _printable(text: str) -> str:
    """The text without control characters, at most MOST long, as a peer may have chosen it."""
    text = text if len(text) <= MOST else f"{text[:MOST]}…"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def drop_output() -> None:
    """Redirect standard output to nowhere if it is broken: Python would flush it on exit."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell_all(*taps: Tap | None) -> Tap | None:
    """One tap that calls all of those given; None if there are none."""
    given: list[Callable[[Peer, Payload | TraceMoment], None]] = [
        tap for tap in taps if tap is not None
    ]
    if not given:
        return None

    def tell(sender: Peer, payload: Payload | TraceMoment) -> None:
        for tap in given:
            tap(sender, payload)

    return tell
