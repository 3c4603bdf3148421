"""``listenproto serve``: the application's end."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import click
import trio

from listenproto.handshake import Policy
from listenproto.messages import Mode
from listenproto.profile import PROFILES
from listenproto_trio import server
from listenproto_trio.answering import Answering
from listenproto_trio.cli import options
from listenproto_trio.cli.answerer import Answerer
from listenproto_trio.cli.files import first, reason
from listenproto_trio.cli.screen import Failure, Screen, showing_log
from listenproto_trio.cli.signals import watch_signals
from listenproto_trio.recorder import Recorder

__all__ = ["serve"]


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=3000, show_default=True)
@click.option("--path", default="/", show_default=True, help="Take calls at this path alone.")
@options.mode
@click.option("--echo", is_flag=True, help="Say back what the caller says.")
@click.option(
    "--play", "files", type=options.existing_file, multiple=True, help="Play to each caller (WAV)."
)
@click.option("--record", type=options.folder, help="Record each call in this folder.")
@click.option("--trace", type=options.folder, help="Write each call's trace into this folder.")
@click.option(
    "--auth",
    type=options.credentials,
    metavar="USER:PASSWORD",
    envvar="LISTENPROTO_AUTH",
    help="Ask for HTTP Basic credentials (or in LISTENPROTO_AUTH).",
)
@click.option("--certfile", type=options.existing_file, help="TLS: the certificate chain (PEM).")
@click.option("--keyfile", type=options.existing_file, help="TLS: its key. [in --certfile]")
@click.option("--health", metavar="PATH", help="Answer a plain GET there with 200.")
@click.option("--max-calls", type=click.IntRange(min=1), help="Refuse more at the same time.")
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="S",
    help="Seconds that open calls may go on once told to stop.",
)
@options.profile
@click.option("-v", "--verbose", is_flag=True, help="Show each message as it passes.")
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
    trace: Path | None,
    auth: tuple[str, str] | None,
    certfile: Path | None,
    keyfile: Path | None,
    health: str | None,
    max_calls: int | None,
    grace: float,
    profile: str,
    verbose: bool,
    as_json: bool,
) -> None:
    """Take calls as an application: record them, echo, play files.

    The mode is that of the verb with which the platform is told to call. SIGTERM or Ctrl-C: no
    new calls, open ones have --grace; a second Ctrl-C ends at once.

    \b
    Example:
      listenproto serve --mode streaming --echo --record recordings
      listenproto serve --host 0.0.0.0 --certfile cert.pem --keyfile key.pem -v
    """
    screen = Screen(as_json, verbose)
    mode = Mode(way or "clips")
    rate = options.stream_rate(way, rate)
    if mode is Mode.OFF and (echo or files):
        raise click.UsageError("with --mode off nothing can be sent back: no --echo, no --play")
    for option, at in (("--path", path), ("--health", health)):
        if at is not None and not at.startswith("/"):
            raise click.BadParameter("a path starts with '/'", param_hint=option)
    answerer = Answerer(
        screen=screen,
        mode=mode,
        rate=rate,
        profile=PROFILES[profile],
        echo=echo,
        files=files,
        recorder=Recorder(record) if record else None,
        traces=trace,
    )
    answering = Answering(
        mode=mode,
        stream_rate=rate,
        profile=PROFILES[profile],
        policy=Policy(paths={path}, credentials=auth, health_path=health, max_calls=max_calls),
        unread="hold",
        tap=answerer.tap if verbose or trace else None,
    )
    context = _identity(certfile, keyfile)
    shown = f"[{host}]" if ":" in host else host
    url = f"{'ws' if context is None else 'wss'}://{shown}:{{port}}{path}"
    try:
        trio.run(
            _serve,
            answerer,
            partial(
                server.serve,
                answerer.handle,
                host=host,
                port=port,
                answering=answering,
                ssl_context=context,
                grace=grace,
            ),
            url,
        )
    except (OSError, ExceptionGroup) as exc:
        failure = first(exc)
        if not isinstance(failure, OSError):
            raise
        raise Failure(f"cannot listen on {host} port {port}: {reason(failure)}") from exc
    answerer.sum_up()
    screen.done()


async def _serve(answerer: Answerer, serving: Callable[..., Awaitable[None]], url: str) -> None:
    """Serve until told to stop."""
    stop = trio.Event()

    def ask() -> None:
        answerer.screen.say(f"stopping; calls open: {answerer.open_calls}; Ctrl-C ends at once")
        stop.set()

    def at_once() -> None:
        raise KeyboardInterrupt

    async with trio.open_nursery() as nursery:
        await nursery.start(watch_signals, ask, at_once)
        with showing_log(answerer.screen), answerer.status:
            async with trio.open_nursery() as serving_nursery:
                (listener, *_) = await serving_nursery.start(partial(serving, stop=stop))
                port = listener.socket.getsockname()[1]
                answerer.screen.say(f"listening on {url.format(port=port)}")
        nursery.cancel_scope.cancel()


def _identity(certfile: Path | None, keyfile: Path | None) -> ssl.SSLContext | None:
    """The server's certificate; None without TLS."""
    if certfile is None:
        if keyfile is not None:
            raise click.UsageError("--keyfile is the key of a certificate: it needs --certfile")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certfile, keyfile, password=lambda: b"")
    except (ssl.SSLError, OSError) as exc:
        of = f"{certfile}" if keyfile is None else f"{certfile} and {keyfile}"
        said = f"{of}: no certificate with its key, both PEM and without a password: {reason(exc)}"
        raise click.BadParameter(said, param_hint="--certfile") from exc
    return context
