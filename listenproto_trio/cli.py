"""The ``listenproto`` command."""

from __future__ import annotations

import io
import itertools
import sys
from pathlib import Path
from typing import NoReturn

import trio

try:
    import click
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
except ImportError as exc:  # pragma: no cover
    raise SystemExit(
        f"the listenproto command needs the cli extra ({exc.name} is missing): "
        "pip install 'listenproto[cli]'"
    ) from exc

from listenproto.trace import TraceError, judge_trace
from listenproto_trio.demo import CALLS, DemoCall, Played, play_call
from listenproto_trio.ladder import ladder
from listenproto_trio.recording import read_trace_file

__all__ = ["main"]

console = Console(highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command: an error is one line; exit status 2 for misuse, 1 for a failure."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may have no arrows
    status = 130
    try:
        status = _run()
    except* (KeyboardInterrupt, click.Abort):
        print("listenproto: interrupted", file=sys.stderr)
    sys.exit(status)


def _run() -> int:
    try:
        commands(prog_name="listenproto", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as exc:
        exc.show()
        return exc.exit_code
    except click.ClickException as exc:
        print(f"listenproto: {exc.format_message()}", file=sys.stderr)
        return 2
    return 0


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(package_name="listenproto")
def commands() -> None:
    """The jambonz listen protocol: call audio over WebSocket.

    \b
    Example:
      listenproto demo
    """


def _first(failures: list[BaseException]) -> BaseException:
    """The first failure that is no group of others."""
    failure = failures[0]
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure


def _fail(message: str) -> NoReturn:
    """One line, and the exit status of a failed call or check."""
    print(f"listenproto: {message}", file=sys.stderr)
    sys.exit(1)


def _new_folder() -> Path:
    names = itertools.chain(
        ["listenproto-demo"], (f"listenproto-demo-{n}" for n in itertools.count(2))
    )
    return next(path for path in map(Path, names) if not path.exists())


@commands.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the files; must not hold any. Default: a new one, listenproto-demo.",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0, max=100, min_open=True),
    default=1.0,
    show_default=True,
    help="Run media time so much faster than the clock.",
)
def demo(out: Path | None, speed: float) -> None:
    """Play two whole calls on loopback, both peers, with real speech.

    A streaming call (the speech echoed, marks, killAudio, DTMF) and a clips call (a queue,
    playDone, one clip too many), in real time. Exit status 0 only if every message obeyed the
    protocol.

    \b
    Example:
      listenproto demo --out demo --speed 4
    """
    folder = out or _new_folder()
    if folder.exists() and any(folder.iterdir()):
        raise click.BadParameter(f"{folder} is not empty", param_hint="--out")
    print(f"writing to {folder}", flush=True)
    played = []
    for number, call in enumerate(CALLS, 1):
        title = f"call {number} of {len(CALLS)}, {call.name}"
        failures: list[BaseException] = []
        try:
            played.append(_play(call, folder / call.name, speed, title))
        except* OSError as group:
            failures = [*group.exceptions]
        if failures:
            _fail(f"{title}: {_first(failures)}")
        _show(played[-1])
    if any(one.faults for one in played):
        _fail("not everything went as it must, see above")
    console.print("Every message obeyed the protocol, seen from both ends.")


def _play(call: DemoCall, folder: Path, speed: float, title: str) -> Played:
    columns = TextColumn(title), BarColumn(), TextColumn("{task.completed:.1f} s")

    async def play() -> Played:
        with Progress(*columns, console=console, transient=True) as progress:
            bar = progress.add_task(title, total=call.seconds)
            return await play_call(
                call,
                folder,
                speed=speed,
                progress=lambda seconds: progress.update(bar, completed=seconds),
            )

    # Raised anywhere else, an interrupt could be lost, or leave the other tasks something half
    # done to stumble over: a nursery, a lock of the display, a message.
    return trio.run(play, restrict_keyboard_interrupt_to_checkpoints=True)


def _show(played: Played) -> None:
    console.print(f"[bold]{played.call.name} call[/bold]")
    for rung in ladder(played.trace):
        print(rung)
    console.print(
        f"ended by {played.result.end.value} after {played.result.duration} s; "
        f"{played.trace.messages} messages"
    )
    for name, outcome in played.outcomes.items():
        if outcome.value == "refused":
            print(f"{name} was refused by the app itself: 10 clips were outstanding")
    for fault in played.faults:
        print(f"wrong: {fault}")
    for path in played.files:
        print(f"wrote {path}")
    print()


@commands.command()
@click.argument(
    "traces",
    metavar="TRACE...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
)
def lint(traces: tuple[Path, ...]) -> None:
    """Judge recorded calls: each breach with its line, clause and sentence.

    Exit status 1 if there is one, or a trace cannot be read.

    \b
    Example:
      listenproto lint listenproto-demo/*/trace.jsonl
    """
    failed = False
    for path in traces:
        try:
            trace = read_trace_file(path)
        except (TraceError, OSError, UnicodeDecodeError) as exc:
            print(f"{path}: {exc}", file=sys.stderr)
            failed = True
            continue
        violations = judge_trace(trace)
        for number, violation in violations:
            print(f"{path}:{number}: {violation.sender.value}: {violation}")
        failed = failed or bool(violations)
        judged = f"{trace.messages} messages, seen by the {trace.header.vantage.value}"
        count = f"{len(violations) or 'no'} breach{'' if len(violations) == 1 else 'es'}"
        print(f"{path}: {judged}: {count}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
