"""``listenproto recover``: recordings that were cut short, mended."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from listenproto.l16 import WavError
from listenproto_trio.cli import options
from listenproto_trio.cli.files import reason
from listenproto_trio.cli.screen import Screen
from listenproto_trio.recovery import Recovered, recover_wav

__all__ = ["recover"]


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=options.existing_file)
@options.as_json
def recover(files: tuple[Path, ...], as_json: bool) -> None:
    """Mend WAV files whose writer was cut short: have the header say what is there.

    No audio is taken away; a file that is right is left alone. Exit status 1 if one cannot be
    mended.

    \b
    Example:
      listenproto recover recordings/*.wav
    """
    screen = Screen(as_json)
    failed = False
    for path in files:
        try:
            _show(screen, recover_wav(path))
        except (WavError, OSError) as exc:
            said = reason(exc) if isinstance(exc, OSError) else str(exc)
            print(f"listenproto: {path} cannot be mended: {said}", file=sys.stderr)
            screen.figures({"file": str(path), "error": said})
            failed = True
    screen.done()
    sys.exit(failed)


def _show(screen: Screen, recovered: Recovered) -> None:
    if not recovered.mended:
        said = "nothing to mend"
    elif recovered.claimed is None:
        said = "mended, it told of no length"
    else:
        said = f"mended, it told of {recovered.claimed / recovered.rate:.2f} s"
    if recovered.cut:
        plural = "" if recovered.cut == 1 else "s"
        said += f"; {recovered.cut} byte{plural} of half a sample cut off"
    screen.say(f"{recovered.path}: {recovered.seconds:.2f} s of audio: {said}")
    screen.figures(
        {
            "file": str(recovered.path),
            "rate": recovered.rate,
            "channels": recovered.channels,
            "samples": recovered.samples,
            "seconds": recovered.seconds,
            "claimed": recovered.claimed,
            "cut": recovered.cut,
            "mended": recovered.mended,
        }
    )
