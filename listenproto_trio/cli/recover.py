"""``listenproto recover``: repair recordings left by a crash."""

from __future__ import annotations

from pathlib import Path

import click

from listenproto._wav import WavError
from listenproto.recording import Recovered, recover_wav
from listenproto_trio._failures import in_words
from listenproto_trio.cli import options
from listenproto_trio.cli.screen import Screen, complain

__all__ = ["recover"]


@click.command(short_help="Repair recordings left by a crash.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=options.existing_file)
@options.as_json
def recover(files: tuple[Path, ...], as_json: bool) -> None:
    """Repair WAV files left by a crash: correct the lengths in their headers.

    No audio is removed, except for an incomplete sample at the end. A file that is right is not
    changed. Exit status 1 if one cannot be repaired.

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
            complain(f"{path} cannot be repaired: {said}")
            screen.figures({"file": str(path), "error": said})
            failed = True
        else:
            _show(screen, recovered)
    screen.exit(failed=failed)


def _show(screen: Screen, recovered: Recovered) -> None:
    if not recovered.mended:
        said = "nothing to repair"
    elif recovered.claimed is None:
        said = "repaired: the header had no length"
    else:
        missing = recovered.samples - recovered.claimed
        said = "repaired"
        if missing:
            off = "short" if missing > 0 else "too long"
            said += f": the header was {abs(missing)} samples {off}"
    if recovered.cut:
        plural = "" if recovered.cut == 1 else "s"
        said += f"; removed {recovered.cut} byte{plural} of an incomplete sample"
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
