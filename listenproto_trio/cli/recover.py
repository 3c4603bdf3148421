"""``listenproto recover``: recordings that were cut short, mended."""

from __future__ import annotations

from pathlib import Path

import click

from listenproto.wav import WavError
from listenproto_trio.cli import options
from listenproto_trio.cli.screen import Screen, complain
from listenproto_trio.failures import in_words
from listenproto_trio.recovery import Recovered, recover_wav

__all__ = ["recover"]


@click.command(short_help="Mend recordings that were cut short.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=options.existing_file)
@options.as_json
def recover(files: tuple[Path, ...], as_json: bool) -> None:
    """Mend WAV files whose writer was cut short: have the header say what is there.

    No audio is taken away but half a sample; a file that is right is left alone. Exit status 1
    if one cannot be mended.

    \b
    Example:
      listenproto recover recordings/*.wav
    """
    screen = Screen(as_json)
    failed = False
    for path in files:
        try:
            recovered = recover_wav(path)
        except (WavError, OSError) as exc:
            said = in_words(exc) if isinstance(exc, OSError) else str(exc)
            complain(f"{path} cannot be mended: {said}")
            screen.figures({"file": str(path), "error": said})
            failed = True
        else:
            _show(screen, recovered)
    screen.exit(failed=failed)


def _show(screen: Screen, recovered: Recovered) -> None:
    if not recovered.mended:
        said = "nothing to mend"
    elif recovered.claimed is None:
        said = "mended, it told of no length"
    else:
        missing = recovered.samples - recovered.claimed
        said = "mended"
        if missing:
            said += f", it told of {abs(missing)} samples {'less' if missing > 0 else 'more'}"
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
