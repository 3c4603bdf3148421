"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import io
import math
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from listenproto._l16 import PLAY_RATES
from listenproto._messages import Metadata, MixType, Mode
from listenproto._profile import PROFILES
from listenproto._terms import DIGITS
from listenproto._verb import WsAuth
from listenproto._verb_options import VerbError
from listenproto_trio._caller import Key

__all__ = [
    "Seconds",
    "as_json",
    "assumed",
    "auth",
    "existing_file",
    "folder",
    "given_as",
    "keys",
    "mode",
    "new_file",
    "path",
    "profile",
    "read_file",
    "speed",
    "stream_rate",
    "subprotocols",
    "verbose",
]

_F = TypeVar("_F", bound=Callable[..., object])

CHUNK_SIZE: Final = 2**16
"""How much of a file is read at a time."""


def given_as(param: click.Parameter | None, ctx: click.Context | None) -> str | None:
    """What a message calls a parameter: the environment variable, if its value comes from one."""
    if param is None or ctx is None:
        return None
    if ctx.get_parameter_source(param.name or "") is ParameterSource.ENVIRONMENT:
        return str(param.envvar)
    return param.get_error_hint(ctx).replace("'", "")


def _credentials(text: str) -> WsAuth:
    """Read ``USER:PASSWORD``."""
    user, _, password = text.partition(":")
    if not user or not password:
        raise click.BadParameter("credentials must be USER:PASSWORD, with neither part empty")
    try:
        return WsAuth(username=user, password=password)
    except VerbError as exc:
        raise click.BadParameter(str(exc)) from exc


def assumed(text: str) -> Metadata:
    """Read ``RATE[,MIXTYPE]``."""
    rate, comma, mix_type = text.partition(",")
    mix_types = [one.value for one in MixType]
    if rate not in map(str, PLAY_RATES) or (comma and mix_type not in mix_types):
        said = f"{text!r} is not RATE or RATE,MIXTYPE, e.g. 8000 or 16000,stereo"
        raise click.BadParameter(said)
    return Metadata(sample_rate=int(rate), mix_type=mix_type or MixType.MONO)


def keys(text: str) -> tuple[Key, ...]:
    """Read keys and when to press them, ``5@2.0,#@4.5``."""
    return tuple(_key(part.strip()) for part in text.split(","))


def _key(part: str) -> Key:
    digit, _, moment = part.partition("@")
    try:
        at = float(moment)
    except ValueError:
        at = math.nan
    if len(digit) != 1 or digit not in DIGITS or not 0 <= at < math.inf:
        said = f"{part!r} is not KEY@SECONDS, e.g. 5@2.0; the keys are {DIGITS}"
        raise click.BadParameter(said)
    return Key(digit, at)


class Seconds(click.FloatRange):
    """A finite number: of seconds, or a factor."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


def path(text: str) -> str:
    """Read the path of a URL."""
    if not re.fullmatch(r"/[!-~]*", text) or "?" in text or "#" in text:
        raise click.BadParameter("a path must start with '/' and have no spaces, '?' or '#'")
    return text


def read_file(path: Path, most: int, *, option: str) -> bytes:
    """Read a whole file or pipe of at most ``most`` bytes.

    Raises click.BadParameter for the option if it cannot be read, is larger, or is neither of
    these: a device, for example, may never end.
    """
    read = io.BytesIO()
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if not (stat.S_ISREG(found.st_mode) or stat.S_ISFIFO(found.st_mode)):
                said = f"{path} is neither a regular file nor a pipe"
                raise click.BadParameter(said, param_hint=option)
            size = found.st_size
            while size <= most and (chunk := file.read(CHUNK_SIZE)):
                read.write(chunk)
                size = read.tell()
    except OSError as exc:
        raise click.BadParameter(f"{path}: {exc.strerror}", param_hint=option) from exc
    if size > most:
        said = f"{path} is larger than the limit of {most >> 20} MiB"
        raise click.BadParameter(said, param_hint=option)
    return read.getvalue()


class _NamedPath(click.Path):
    """A path that is not empty: ``Path("")`` would be the current folder."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        if not os.fspath(value):
            self.fail(f"it is empty; name a {'file' if self.file_okay else 'folder'}", param, ctx)
        return super().convert(value, param, ctx)


existing_file = _NamedPath(path_type=Path, exists=True, dir_okay=False)
new_file = _NamedPath(path_type=Path, dir_okay=False)
folder = _NamedPath(path_type=Path, file_okay=False)


def auth(said: str) -> Callable[[_F], _F]:
    """--auth: HTTP Basic credentials; set in the environment, no process list shows them."""
    return click.option(
        "--auth",
        type=_credentials,
        metavar="USER:PASSWORD",
        envvar="LISTENPROTO_AUTH",
        help=said,
    )


def _subprotocol(text: str) -> str:
    """Read the name of a subprotocol: a token (RFC 9110, 5.6.2)."""
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", text):
        said = f"{text!r} must be one name without spaces and commas, e.g. audio.drachtio.org"
        raise click.BadParameter(said)
    return text


def subprotocols(said: str, *, or_none: str) -> Callable[[_F], _F]:
    """--subprotocol, once for each name, and --allow-no-subprotocol."""
    name = click.option(
        "--subprotocol",
        "subprotocols",
        type=_subprotocol,
        multiple=True,
        metavar="NAME",
        help=said,
    )
    none = click.option("--allow-no-subprotocol", is_flag=True, help=or_none)
    return lambda command: name(none(command))


def mode(command: _F) -> _F:
    """--mode and --rate: what the app may send back."""
    rates_in_words = ", ".join(map(str, PLAY_RATES))
    said = f"Sample rate of the app's audio in Hz: {rates_in_words}.  [default: 8000]"
    rates = click.Choice(PLAY_RATES)
    command = click.option("--rate", type=rates, metavar="N", help=said)(command)
    said = "What the app may send back; must be the same at both ends.  [default: clips]"
    modes = click.Choice([one.value for one in Mode])
    return click.option("--mode", "way", type=modes, help=said)(command)


def stream_rate(way: str | None, rate: int | None) -> int:
    """The sample rate of the app's audio; any rate if it does not stream."""
    if rate is not None and way != Mode.STREAMING.value:
        raise click.UsageError("--rate only works with --mode streaming")
    return rate or PLAY_RATES[0]


def profile(command: _F) -> _F:
    """--profile: how the platform behaves."""
    said = "Behave as documented, or as real deployments do; must be the same at both ends."
    choice = click.Choice([*PROFILES])
    option = click.option(
        "--profile", type=choice, default="documented", show_default=True, help=said
    )
    return option(command)


def speed(command: _F) -> _F:
    """--speed: how many times faster than real time."""
    return click.option(
        "--speed",
        type=Seconds(min=0.01, max=100),
        default=1.0,
        show_default=True,
        metavar="X",
        help="Run the call X times faster than real time.",
    )(command)


def verbose(command: _F) -> _F:
    """--verbose: the messages of a call as they pass."""
    said = "Show each message as it passes."
    return click.option("-v", "--verbose", is_flag=True, help=said)(command)


def as_json(command: _F) -> _F:
    """--json: results for programs."""
    said = "Print results as JSON on standard output, everything else on standard error."
    return click.option("--json", "as_json", is_flag=True, help=said)(command)
