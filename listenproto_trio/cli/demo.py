"""``listenproto demo``: two complete calls on loopback."""

from __future__ import annotations

import itertools
from pathlib import Path

import click
import trio

from listenproto_trio._demo import CALLS, DemoCall, Played, play_call
from listenproto_trio._failures import first, with_file
from listenproto_trio._ladder import ladder
from listenproto_trio.cli import options
from listenproto_trio.cli.screen import Failure, Screen, showing_log

__all__ = ["demo"]


def _new_folder() -> Path:
    names = itertools.chain(
        ["listenproto-demo"], (f"listenproto-demo-{n}" for n in itertools.count(2))
    )
    return next(path for path in map(Path, names) if not path.exists())


@click.command(short_help="Run two complete calls, both ends, on this machine.")
@click.option(
    "--out",
    type=options.folder,
    help="Folder for the files; must be empty or new.  [default: a new one]",
)
@options.speed
def demo(out: Path | None, speed: float) -> None:
    """Run two complete calls on loopback, both ends, with real speech.

    A streaming call (echoed speech, marks, killAudio, DTMF) and a clips call (queued clips,
    playDone, one clip too many), in real time. Exit status 0 only if every message obeyed the
    protocol.

    \b
    Example:
      listenproto demo --out demo --speed 4
    """
    folder = out or _new_folder()
    if folder.exists() and any(folder.iterdir()):
        raise click.BadParameter(f"{folder} is not empty; name another folder", param_hint="--out")
    screen = Screen()
    # Raised anywhere else, an interrupt could be lost, or leave the other tasks something half
    # done to stumble over: a nursery, a lock of the display, a message.
    with showing_log(screen):
        trio.run(_play_all, screen, folder, speed, restrict_keyboard_interrupt_to_checkpoints=True)
    screen.say("Every message obeyed the protocol, as seen from both ends.")
    screen.exit()


async def _play_all(screen: Screen, folder: Path, speed: float) -> None:
    """Run the calls and show them. Raises Failure if something went wrong."""
    screen.say(f"writing to {folder}")
    played = []
    for number, call in enumerate(CALLS, 1):
        title = f"call {number} of {len(CALLS)}, {call.name}"
        try:
            played.append(await _play(screen, call, folder / call.name, speed, title))
        except (OSError, ExceptionGroup) as exc:
            failure = first(exc)
            if not isinstance(failure, OSError):
                raise
            raise Failure(f"{title}: {with_file(failure)}") from exc
        _show(screen, played[-1])
    if any(one.faults for one in played):
        raise Failure("something went wrong, see above")


async def _play(screen: Screen, call: DemoCall, folder: Path, speed: float, title: str) -> Played:
    progress, bar = screen.progress(title, call.seconds)
    with progress:
        return await play_call(
            call,
            folder,
            speed=speed,
            progress=lambda seconds: progress.update(bar, completed=seconds),
        )


def _show(screen: Screen, played: Played) -> None:
    screen.say(f"{played.call.name} call", style="bold")
    for rung in ladder(played.trace):
        screen.say(rung)
    screen.say(
        f"ended by {played.result.end.value} after {played.result.duration} s; "
        f"{played.trace.messages} messages"
    )
    for name, outcome in played.outcomes.items():
        if outcome.value == "refused":
            screen.say(f"{name} was refused by our own app, as 10 clips were outstanding")
    for fault in played.faults:
        screen.say(f"wrong: {fault}")
    for path in played.files:
        screen.say(f"wrote {path}")
    screen.say("")
