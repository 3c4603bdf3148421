"""``listenproto serve``: the application's end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import click
import trio

from listenproto._answering import Answering
from listenproto._handshake import SUBPROTOCOLS, HandshakePolicy
from listenproto._messages import Metadata, Mode
from listenproto._profile import PROFILES
from listenproto._verb import BidirectionalAudio, ListenVerb, WsAuth
from listenproto._verb_judge import judge_verb
from listenproto_trio import _server
from listenproto_trio._call import Call
from listenproto_trio._listening import Certificate
from listenproto_trio.cli import options
from listenproto_trio.cli.answerer import Answerer
from listenproto_trio.cli.echo import Files
from listenproto_trio.cli.files import check_folder
from listenproto_trio.cli.identity import server_context
from listenproto_trio.cli.places import Place, open_all
from listenproto_trio.cli.screen import Screen, complain, showing_log
from listenproto_trio.cli.signals import watch_signals

if TYPE_CHECKING:
    from listenproto_trio.cli.metrics import Metrics  # needs an extra

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
    "--reuse-port",
    is_flag=True,
    help="Let other processes listen on the same port, if they do the same.",
)
@click.option(
    "--fd",
    "descriptor",
    type=click.IntRange(min=3),
    metavar="N",
    help="Listen on this open socket instead of --host and --port: 3 under systemd.",
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
    "--metrics",
    "metrics_path",
    type=options.path,
    metavar="PATH",
    help="Figures for operators: answer a plain GET here in Prometheus' text format.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    metavar="N",
    help="Answer --metrics at this port instead, for processes that share a port.",
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
    reuse_port: bool,
    descriptor: int | None,
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
    metrics_path: str | None,
    metrics_port: int | None,
    max_calls: int | None,
    grace: float,
    profile: str,
    verbose: bool,
    as_json: bool,
) -> None:
    """Answer calls as an application: record them, echo them, play files.

    --mode must match the verb that the platform calls with. SIGTERM or Ctrl-C stops: no new calls
    are answered, and open ones may go on for --grace seconds. A second Ctrl-C ends at once. With
    --certfile, SIGHUP reads the certificate again, for new connections.

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
    taken = {"--path": path, "--health": health, "--metrics": metrics_path}
    for (one, its), (other, others) in combinations(taken.items(), 2):
        if its is not None and its == others:
            said = f"{other} and {one} are both {its}; choose another path for {other}"
            raise click.UsageError(said)
    if not host:
        said = "it is empty; use a host name or an address"
        raise click.BadParameter(said, param_hint="--host")
    for warning in judge_verb(_expected_verb(mode, rate, auth), PROFILES[profile]):
        screen.say(f"note: {warning}")
    if metrics_port is not None and metrics_path is None:
        raise click.UsageError("--metrics-port only works with --metrics")
    if descriptor is not None and reuse_port:
        raise click.UsageError("--reuse-port is for a port; drop it, or --fd")
    metrics = None if metrics_path is None else _metrics()
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
        metrics=metrics,
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
        on_end=None if metrics is None else metrics.ended,
    )
    certificate = None
    if certfile is not None:
        certificate = Certificate(partial(server_context, certfile, keyfile))
    elif keyfile is not None:
        raise click.UsageError("--keyfile only works with --certfile")
    check_folder(record, option="--record")
    check_folder(trace, option="--trace")
    pages = {metrics_path: metrics.page} if metrics_path and metrics else {}
    own_port = metrics_port is not None
    served = partial(
        _server.serve,
        answerer.handle,
        answering=answering,
        ssl_context=certificate,
        grace=grace,
        pages={} if own_port else pages,
    )
    place = Place(host=host, port=port, reuse_port=reuse_port, descriptor=descriptor)
    serving = _Serving(
        place=place,
        url=partial(place.url, "ws" if certificate is None else "wss", path),
        serve=served,
        certificate=certificate,
        figures_place=Place(host=host, port=metrics_port) if metrics_port is not None else None,
        pages=pages,
    )
    trio.run(_serve, answerer, serving)
    screen.exit(failed=bool(answerer.not_whole))


def _metrics() -> Metrics:
    """The figures for operators; raises click.UsageError without the package for them."""
    try:
        from listenproto_trio.cli.metrics import Metrics
    except ModuleNotFoundError as exc:
        if exc.name != "prometheus_client":
            raise
        said = "--metrics needs the extra metrics: pip install 'listenproto[metrics]'"
        raise click.UsageError(said) from exc
    return Metrics()


def _expected_verb(mode: Mode, rate: int, auth: WsAuth | None) -> ListenVerb:
    """What the platform's verb must have to fit the options."""
    way = BidirectionalAudio(
        enabled=mode is not Mode.OFF, streaming=mode is Mode.STREAMING, sample_rate=rate
    )
    return ListenVerb(url="/", bidirectional_audio=way, ws_auth=auth)


@attrs.frozen(kw_only=True)
class _Serving:
    """What is served, and where."""

    place: Place
    url: Callable[[trio.SocketListener], str]
    serve: Callable[..., Awaitable[None]]
    certificate: Certificate | None
    figures_place: Place | None
    """Where the pages are, if not with the calls."""
    pages: Mapping[str, Callable[[], str]]


async def _no_call(call: Call) -> None:
    raise AssertionError("a place without room for calls has answered one")


async def _serve(answerer: Answerer, serving: _Serving) -> None:
    """Serve until told to stop. Raises Failure if it cannot listen."""
    stop, screen, certificate = trio.Event(), answerer.screen, serving.certificate

    def ask() -> None:
        calls = answerer.open_calls
        said = f"; calls open: {calls}; press Ctrl-C again to end them" if calls else ""
        screen.say(f"stopping{said}")
        stop.set()

    def at_once() -> None:
        raise KeyboardInterrupt

    def reload() -> None:
        assert certificate is not None
        try:
            certificate.reload()
        except click.BadParameter as exc:
            complain(f"certificate not read again, the old one stays in use: {exc.message}")
        else:
            screen.say("certificate read again")

    listeners, figures = await open_all(serving.place, serving.figures_place)
    async with trio.open_nursery() as nursery:
        await nursery.start(watch_signals, ask, at_once, reload if certificate else None)
        if figures:
            no_calls = Answering(policy=HandshakePolicy(max_calls=0))
            show = partial(_server.serve, _no_call, answering=no_calls, pages=serving.pages)
            nursery.start_soon(partial(show, listeners=figures))
        with showing_log(screen, REMEDIES), nullcontext() if screen.as_json else answerer.status:
            try:
                async with trio.open_nursery() as calls:
                    await calls.start(partial(serving.serve, listeners=listeners, stop=stop))
                    screen.say(f"listening on {serving.url(listeners[0])}")
                    for note in answerer.files.notes:
                        screen.say(note)
            finally:
                answerer.sum_up()
        nursery.cancel_scope.cancel()
