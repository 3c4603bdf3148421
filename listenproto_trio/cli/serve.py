"""``listenproto serve``: the application's end."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Final

import click
import trio

from listenproto._answering import Answering
from listenproto._handshake import SUBPROTOCOLS, HandshakePolicy
from listenproto._messages import Metadata, Mode
from listenproto._profile import PROFILES
from listenproto._verb import BidirectionalAudio, ListenVerb, WsAuth
from listenproto._verb_judge import judge_verb
from listenproto_trio import _server
from listenproto_trio._failures import in_words
from listenproto_trio.cli import options
from listenproto_trio.cli.answerer import Answerer
from listenproto_trio.cli.echo import Files
from listenproto_trio.cli.files import check_folder
from listenproto_trio.cli.screen import Failure, Screen, showing_log
from listenproto_trio.cli.signals import watch_signals

__all__ = ["serve"]

REMEDIES: Final = {
    "LP-HS-8": "To accept it, pass --subprotocol NAME, "
    "or --allow-no-subprotocol if none is offered."
}
"""Which options help if a request is refused, by the clause."""


@click.command(short_help="Answer calls: record, echo, play files.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="HOST", help="Address to listen on."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=3000,
    show_default=True,
    metavar="N",
    help="Port; 0 picks a free one.",
)
@click.option(
    "--path",
    type=options.path,
    default="/",
    show_default=True,
    metavar="PATH",
    help="Answer calls at this path.",
)
@options.mode
@click.option("--echo", is_flag=True, help="Send back what the caller says.")
@click.option(
    "--play",
    "files",
    type=options.existing_file,
    multiple=True,
    help="Play this file (WAV, FLAC, Ogg, MP3 and others) to each caller; may be repeated.",
)
@click.option("--record", type=options.folder, help="Record each call in this folder.")
@click.option(
    "--both",
    is_flag=True,
    help="Record both sides in stereo: the caller left, what the caller heard of the app right.",
)
@click.option(
    "--fill-gaps",
    is_flag=True,
    help="Fill gaps in the platform's audio with silence, so that the file is as long as the call.",
)
@click.option("--trace", type=options.folder, help="Write a trace of each call into this folder.")
@click.option(
    "--salvage/--no-salvage",
    default=True,
    show_default=True,
    help="Also take calls whose metadata is cut off or damaged, with what can be read of it.",
)
@click.option(
    "--assume",
    type=options.assumed,
    metavar="RATE[,MIXTYPE]",
    help="Sample rate and mix type of a platform that does not send them, e.g. 16000,stereo.",
)
@options.auth("Require HTTP Basic credentials (or set LISTENPROTO_AUTH).")
@options.subprotocols(
    "Accept this subprotocol; may be repeated.  [default: audio.jambonz.org, audio.drachtio.org]",
    or_none="Also accept a platform that offers no subprotocol.",
)
@click.option("--certfile", type=options.existing_file, help="TLS: certificate chain (PEM).")
@click.option(
    "--keyfile",
    type=options.existing_file,
    help="TLS: private key (PEM).  [default: in --certfile]",
)
@click.option(
    "--health",
    type=options.path,
    metavar="PATH",
    help="Health check: answer a plain GET or HEAD here with 200, or 503 when full.",
)
@click.option(
    "--max-calls",
    type=click.IntRange(min=1),
    metavar="N",
    help="Maximum number of simultaneous calls.",
)
@click.option(
    "--grace",
    type=options.Seconds(min=0),
    default=30.0,
    show_default=True,
    metavar="S",
    help="When stopping, let open calls go on for up to S seconds.",
)
@options.profile
@options.verbose
@options.as_json
def serve(
    host: str,
    port: int,
    path: str,
    way: str | None,
    rate: int | None,
    echo: bool,
    files: tuple[Path, ...],
    record: Path | None,
    both: bool,
    fill_gaps: bool,
    trace: Path | None,
    salvage: bool,
    assume: Metadata | None,
    auth: WsAuth | None,
    subprotocols: tuple[str, ...],
    allow_no_subprotocol: bool,
    certfile: Path | None,
    keyfile: Path | None,
    health: str | None,
    max_calls: int | None,
    grace: float,
    profile: str,
    verbose: bool,
    as_json: bool,
) -> None:
    """Answer calls as an application: record them, echo them, play files.

    --mode must match the verb that the platform calls with. SIGTERM or Ctrl-C stops: no new calls
    are answered, and open ones may go on for --grace seconds. A second Ctrl-C ends at once.

    \b
    Example:
      listenproto serve --mode streaming --echo --record recordings --both
      listenproto serve --host 0.0.0.0 --certfile cert.pem --keyfile key.pem -v
    """
    screen = Screen(as_json, verbose)
    mode = Mode(way or "clips")
    rate = options.stream_rate(way, rate)
    if mode is Mode.OFF and (echo or files):
        raise click.UsageError("--mode off cannot send audio back; drop --echo and --play")
    if record is None and (both or fill_gaps):
        raise click.UsageError(f"{'--both' if both else '--fill-gaps'} only works with --record")
    if health == path:
        said = f"--health and --path are both {path}; choose another path for --health"
        raise click.UsageError(said)
    if not host:
        said = "it is empty; use a host name or an address"
        raise click.BadParameter(said, param_hint="--host")
    for warning in judge_verb(_expected_verb(mode, rate, auth), PROFILES[profile]):
        screen.say(f"note: {warning}")
    answerer = Answerer(
        screen=screen,
        mode=mode,
        rate=rate,
        profile=PROFILES[profile],
        echo=echo,
        files=Files(files, mode, rate),
        recordings=record,
        both=both,
        fill_gaps=fill_gaps,
        traces=trace,
    )
    answering = Answering(
        mode=mode,
        stream_rate=rate,
        profile=PROFILES[profile],
        policy=HandshakePolicy(
            paths={path},
            subprotocols=subprotocols or SUBPROTOCOLS,
            allow_no_subprotocol=allow_no_subprotocol,
            credentials=None if auth is None else (auth.username, auth.password),
            health_path=health,
            max_calls=max_calls,
        ),
        unread="hold",
        salvage_metadata=salvage,
        assume=assume,
        tap=answerer.tap if verbose or trace else None,
        on_lost=answerer.lose,
    )
    context = _identity(certfile, keyfile)
    check_folder(record, option="--record")
    check_folder(trace, option="--trace")
    shown = f"[{host}]" if ":" in host else host
    url = f"{'ws' if context is None else 'wss'}://{shown}:{{port}}{path}"
    serving = partial(
        _server.serve,
        answerer.handle,
        host=host,
        port=port,
        answering=answering,
        ssl_context=context,
        grace=grace,
    )
    try:
        trio.run(_serve, answerer, serving, url)
    except OSError as exc:
        raise Failure(f"cannot listen on {host} port {port}: {in_words(exc)}") from exc
    screen.exit(failed=bool(answerer.not_whole))


def _expected_verb(mode: Mode, rate: int, auth: WsAuth | None) -> ListenVerb:
    """What the platform's verb must have to fit the options."""
    way = BidirectionalAudio(
        enabled=mode is not Mode.OFF, streaming=mode is Mode.STREAMING, sample_rate=rate
    )
    return ListenVerb(url="/", bidirectional_audio=way, ws_auth=auth)


async def _serve(answerer: Answerer, serving: Callable[..., Awaitable[None]], url: str) -> None:
    """Serve until told to stop. Raises OSError if it cannot listen."""
    stop, screen = trio.Event(), answerer.screen
    refused: OSError | None = None  # kept out of the nurseries, which would wrap it in groups

    def ask() -> None:
        calls = answerer.open_calls
        said = f"; calls open: {calls}; press Ctrl-C again to end them" if calls else ""
        screen.say(f"stopping{said}")
        stop.set()

    def at_once() -> None:
        raise KeyboardInterrupt

    async with trio.open_nursery() as nursery:
        await nursery.start(watch_signals, ask, at_once)
        with showing_log(screen, REMEDIES), nullcontext() if screen.as_json else answerer.status:
            try:
                async with trio.open_nursery() as calls:
                    try:
                        (listener, *_) = await calls.start(partial(serving, stop=stop))
                    except OSError as exc:
                        refused = exc
                    else:
                        port = listener.socket.getsockname()[1]
                        screen.say(f"listening on {url.format(port=port)}")
                        for note in answerer.files.notes:
                            screen.say(note)
            finally:
                if refused is None:
                    answerer.sum_up()
        nursery.cancel_scope.cancel()
    if refused is not None:
        raise refused


def _identity(certfile: Path | None, keyfile: Path | None) -> ssl.SSLContext | None:
    """The server's certificate; None without TLS."""
    if certfile is None:
        if keyfile is not None:
            raise click.UsageError("--keyfile only works with --certfile")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    key, hint, locked = keyfile or certfile, "--keyfile" if keyfile else "--certfile", False

    def password() -> bytes:
        nonlocal locked
        locked = True
        return b""

    try:
        ssl.create_default_context(cafile=certfile)  # fails for a key without a certificate
    except OSError as exc:  # SSLError is one
        said = f"{certfile} is not a PEM file with a certificate"
        raise click.BadParameter(said, param_hint="--certfile") from exc
    try:
        context.load_cert_chain(certfile, keyfile, password=password)
    except OSError as exc:
        reason = getattr(exc, "reason", None)  # OpenSSL's name, if there is just one fault
        said = f"{key} is not a PEM file with a private key"
        if keyfile is None:
            said = f"{key} has no private key in it; pass that with --keyfile FILE"
        if locked:
            said = f"the private key in {key} is encrypted; use one without a password"
        elif reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            said = f"the key in {key} does not match the certificate in {certfile}"
        elif reason:
            said = f"{certfile} cannot be used: {reason}"
        raise click.BadParameter(said, param_hint=hint) from exc
    return context
