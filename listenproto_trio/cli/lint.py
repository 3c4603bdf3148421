"""``listenproto lint``: checks recorded calls."""

from __future__ import annotations

from pathlib import Path

import click

from listenproto._messages import JSON
from listenproto._review import TraceNote, review_trace
from listenproto._trace import Trace, TraceError
from listenproto._violation import Violation
from listenproto.recording import read_trace_file
from listenproto_trio._failures import in_words
from listenproto_trio._ladder import ladder
from listenproto_trio.cli import options
from listenproto_trio.cli.screen import Screen, complain

__all__ = ["lint"]


@click.command(short_help="Check recorded calls against the protocol.")
@click.argument(
    "traces",
    metavar="TRACE...",
    nargs=-1,
    required=True,
    type=options.existing_file,
)
@click.option("-v", "--verbose", is_flag=True, help="Show the ladder of messages of each call.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object per trace.")
def lint(traces: tuple[Path, ...], verbose: bool, as_json: bool) -> None:
    """Check recorded calls: each breach of the protocol, with its line and spec clause.

    A note is about what went wrong although nobody broke the protocol, such as a mark that never
    came back. A trace without the end of the connection is reported as unfinished. Neither is a
    breach.

    Exit status 1 if there is a breach, or if a trace cannot be read to its end.

    \b
    Example:
      listenproto lint listenproto-demo/*/trace.jsonl
    """
    screen = Screen(as_json, verbose)
    failed = False
    for path in traces:
        trace, lack = _read(path)
        if trace is not None:
            found = review_trace(trace)
            if verbose:
                for rung in ladder(trace):
                    screen.say(rung)
            _show(screen, path, trace, found, lack)
            failed = failed or any(isinstance(one, Violation) for _, one in found)
        else:
            screen.figures({"trace": str(path), "error": lack})
        if lack is not None:
            complain(f"{path}: {lack}")
            failed = True
    screen.exit(failed=failed)


def _read(path: Path) -> tuple[Trace | None, str | None]:
    """The part of a trace that can be read, and what is wrong with the rest.

    The lines before a wrong one are still good. If a trace ends in the middle of a line, its writer
    was most likely killed.
    """
    try:
        return read_trace_file(path), None
    except TraceError as exc:
        cut = exc.cut_short and exc.before is not None
        return exc.before, f"cut off at line {exc.line}: {exc.what}" if cut else str(exc)
    except OSError as exc:
        return None, in_words(exc)


def _show(
    screen: Screen,
    path: Path,
    trace: Trace,
    found: list[tuple[int, Violation | TraceNote]],
    lack: str | None,
) -> None:
    for number, one in found:
        what = "note: " if isinstance(one, TraceNote) else ""
        screen.say(f"{path}:{number}: {one.sender.value}: {what}{one}")
    messages = f"{trace.messages} message{'' if trace.messages == 1 else 's'}"
    judged = f"{messages}, seen by the {trace.header.vantage.value}"
    if lack is not None:
        judged += f", judged up to line {len(trace.lines) + 1}"  # the first is the header
    violations = [(number, one) for number, one in found if isinstance(one, Violation)]
    notes = [(number, one) for number, one in found if isinstance(one, TraceNote)]
    count = f"{len(violations) or 'no'} breach{'' if len(violations) == 1 else 'es'}"
    if notes:
        count += f", {len(notes)} note{'' if len(notes) == 1 else 's'}"
    unfinished = not trace.finished
    no_close = unfinished and lack is None
    screen.say(f"{path}: {judged}: {count}{'; unfinished: no close' if no_close else ''}")
    breaches: list[JSON] = [
        {
            "line": number,
            "sender": violation.sender.value,
            "clause": violation.clause,
            "reason": violation.reason,
        }
        for number, violation in violations
    ]
    told: list[JSON] = [
        {"line": number, "sender": note.sender.value, "reason": note.reason}
        for number, note in notes
    ]
    figures: dict[str, JSON] = {
        "trace": str(path),
        "vantage": trace.header.vantage.value,
        "messages": trace.messages,
        "unfinished": unfinished,
        "breaches": breaches,
        "notes": told,
    }
    screen.figures(figures | ({} if lack is None else {"error": lack}))
