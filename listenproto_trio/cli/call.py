"""``listenproto call``: the platform's end, with a simulated caller."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

import attrs
import click
import trio
from click.core import ParameterSource

from listenproto._errors import LocalProtocolError
from listenproto._handshake import SUBPROTOCOL
from listenproto._jsontext import DECODER
from listenproto._messages import JSON, MixType
from listenproto._profile import PROFILES
from listenproto._shown import shown
from listenproto._url import ABSOLUTE, url_fault
from listenproto._verb import ListenVerb, WsAuth, unwrapped
from listenproto._verb_judge import judge_verb
from listenproto._verb_options import VerbError
from listenproto_trio._caller import Key
from listenproto_trio.cli import options
from listenproto_trio.cli.all_calls import place_all, show_all
from listenproto_trio.cli.files import numbered
from listenproto_trio.cli.hook import Hook, read_hook
from listenproto_trio.cli.placing import CallPlan
from listenproto_trio.cli.screen import Screen
from listenproto_trio.cli.sound import mixed, read_sound, spoken

__all__ = ["call"]

MOST_CALLS: Final = 1000
APART: Final = 0.02
"""Seconds between the starts of calls, unless an option says otherwise."""
MOST_VERB: Final = 2**20
"""Maximum size of a verb's file in bytes."""


@click.command(short_help="Call an application, as jambonz would.")
@click.argument("url", metavar="URL")
@click.option(
    "--audio",
    type=options.existing_file,
    help="What the caller says (WAV, FLAC, Ogg, MP3 and others).  [default: built-in speech]",
)
@click.option(
    "--audio-far",
    type=options.existing_file,
    help="What the other party says, if mixType is stereo or mixed.",
)
@click.option(
    "--verb", "verb_file", type=options.existing_file, help="The listen verb, a JSON file."
)
@options.mode
@click.option(
    "--dtmf",
    "keys",
    type=options.keys,
    metavar="KEYS",
    help="Keys to press, each KEY@SECONDS, e.g. 5@2.0,#@4.5.",
)
@click.option(
    "--hangup-after",
    type=options.Seconds(min=0),
    metavar="S",
    help="Hang up after S seconds.  [default: when the audio ends]",
)
@options.profile
@click.option(
    "--nested-in-dial",
    is_flag=True,
    help="The verb is nested in a dial, so the app cannot send audio.",
)
@click.option(
    "--bidirectional-in-dial",
    is_flag=True,
    help="With --nested-in-dial: the app can send audio all the same.",
)
@options.auth("HTTP Basic credentials (wsAuth). LISTENPROTO_AUTH is used if the verb has none.")
@options.subprotocols(
    "Offer this subprotocol; may be repeated, best first.  [default: audio.jambonz.org]",
    or_none="Accept an app that names no subprotocol, as deployed platforms do.",
)
@click.option("--heard", type=options.new_file, help="Write what the caller hears here (WAV).")
@click.option("--trace", type=options.new_file, help="Write a trace of the call (JSON lines).")
@options.speed
@click.option(
    "--calls",
    type=click.IntRange(min=1, max=MOST_CALLS),
    default=1,
    show_default=True,
    metavar="N",
    help="Place N calls at once; their files are numbered.",
)
@click.option(
    "--ramp",
    type=options.Seconds(min=0),
    metavar="S",
    help="With --calls: start them evenly over S seconds.  [default: 20 ms apart]",
)
@click.option("--cafile", type=options.existing_file, help="Also trust the CAs in this file (PEM).")
@click.option("--insecure", is_flag=True, help="Do not check certificates (testing only).")
@options.verbose
@options.as_json
@click.pass_context
def call(
    context: click.Context,
    url: str,
    audio: Path | None,
    audio_far: Path | None,
    verb_file: Path | None,
    way: str | None,
    rate: int | None,
    keys: tuple[Key, ...] | None,
    hangup_after: float | None,
    profile: str,
    nested_in_dial: bool,
    bidirectional_in_dial: bool,
    auth: WsAuth | None,
    subprotocols: tuple[str, ...],
    allow_no_subprotocol: bool,
    heard: Path | None,
    trace: Path | None,
    speed: float,
    calls: int,
    ramp: float | None,
    cafile: Path | None,
    insecure: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Call the application at URL as jambonz would, with a simulated caller.

    The caller says the built-in speech or --audio, presses keys and hangs up. --verb is the listen
    verb; URL replaces its url. The verb's actionHook is POSTed at the end. Ctrl-C hangs up.
    Exit status 1 if a call failed, the app broke the protocol or closed with a code other than
    1000 (closing without a code is fine), or the actionHook was not answered with 2xx.

    Gaps are silences of up to a second in the middle of the app's stream: it came too late. Check
    that the app sends at the verb's bidirectionalAudio.sampleRate (--rate), and far enough ahead
    of playout. A silence does not count once the app was told that all of its audio was played, by
    a playDone or by the event of a mark. Gaps are in seconds of the call, whatever the --speed.

    \b
    Example:
      listenproto call ws://127.0.0.1:3000/ --mode streaming --heard heard.wav
      listenproto call wss://app.example/ --verb verb.json --dtmf 5@2.0,#@4.5 -v
    """
    screen = Screen(as_json, verbose)
    from_environment = context.get_parameter_source("auth") is ParameterSource.ENVIRONMENT
    verb = _verb(url, verb_file, way, rate, auth, from_environment=from_environment)
    if bidirectional_in_dial and not nested_in_dial:
        raise click.UsageError("--bidirectional-in-dial only works with --nested-in-dial")
    if audio_far is not None and verb.mix_type is MixType.MONO:
        raise click.BadParameter(
            "the verb's mixType is mono, so the app gets the caller's audio alone; use a --verb "
            "with mixType stereo or mixed",
            param_hint="--audio-far",
        )
    if heard is not None and heard == trace:
        raise click.UsageError(f"--heard and --trace are both {heard}; give each its own file")
    caller = spoken(verb.sample_rate)
    if audio is not None:
        caller = read_sound(audio, verb.sample_rate, option="--audio", tell=screen.say)
    far = b""
    if audio_far is not None:
        far = read_sound(audio_far, verb.sample_rate, option="--audio-far", tell=screen.say)
    trusted = _trust(cafile, insecure)  # reports what is wrong before anything is done
    if insecure:
        said = "INSECURE: certificates are not checked, so anybody can pose as the app"
        screen.say(said, style="bold red")
    for warning in judge_verb(verb, PROFILES[profile]):
        screen.say(f"note: {warning}")
    hook = _hook(verb, verb_file)
    plan = CallPlan(
        verb=verb,
        audio=mixed(verb.mix_type, caller, far),
        keys=keys or (),
        hang_up_after=hangup_after,
        profile=PROFILES[profile],
        nested_in_dial=nested_in_dial,
        bidirectional_in_dial=bidirectional_in_dial,
        subprotocols=subprotocols or (SUBPROTOCOL,),
        allow_no_subprotocol=allow_no_subprotocol,
        speed=speed,
        hook=hook,
        hook_context=None if hook is None else _trust(cafile, insecure),
        ramp=calls * APART if ramp is None else ramp,
        calls=calls,
        context=trusted,
    )
    _check_keys(plan)
    _check_metadata(plan, verb_file)
    files = [(_one(heard, n, calls), _one(trace, n, calls)) for n in range(1, calls + 1)]
    placed = trio.run(place_all, plan, files, screen)
    show_all(screen, placed)
    screen.exit(failed=any(one.failures for one in placed.placed))


def _one(path: Path | None, number: int, calls: int) -> Path | None:
    """The file of one call, which must not exist."""
    if path is None:
        return None
    path = numbered(path, number, calls)
    if path.exists():
        raise click.UsageError(f"{path} already exists; delete it, or choose another file")
    return path


def _verb(
    url: str,
    path: Path | None,
    way: str | None,
    rate: int | None,
    auth: WsAuth | None,
    *,
    from_environment: bool,
) -> ListenVerb:
    """The verb that the options describe."""
    if path is not None and (way is not None or rate is not None):
        raise click.UsageError("--verb already sets mode and rate; drop --mode and --rate")
    rate = options.stream_rate(way, rate)
    obj: dict[str, JSON] = {} if path is None else _read_verb(path)
    if way == "streaming":
        obj["bidirectionalAudio"] = {"streaming": True, "sampleRate": rate}
    elif way == "off":
        obj["bidirectionalAudio"] = {"enabled": False}
    if path is None:
        obj["passDtmf"] = True
    if auth is not None and not (from_environment and obj.get("wsAuth")):
        obj["wsAuth"] = {"username": auth.username, "password": auth.password}
    try:
        # The url in the file is checked too, though URL replaces it: platforms would refuse it.
        verb = ListenVerb.from_json({"url": "/"} | obj)
    except VerbError as exc:
        raise click.BadParameter(f"{path}: {exc}", param_hint="--verb") from exc
    if url.startswith("/"):
        raise _no_url(url)
    try:
        return attrs.evolve(verb, url=url)
    except VerbError as exc:
        raise _no_url(url) from exc


def _no_url(url: str) -> click.BadParameter:
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in ("ws", "wss", "http", "https"):
        said = "must start with ws://, wss://, http:// or https://, e.g. ws://127.0.0.1:3000/"
    elif "@" in rest.partition("/")[0]:
        said = "must not have a user name or password in it; use --auth USER:PASSWORD"
    else:
        said = f"must {url_fault(url) or f'be {ABSOLUTE}'}"
    return click.BadParameter(f"{shown(url)} {said}", param_hint="URL")


def _hook(verb: ListenVerb, path: Path | None) -> Hook | None:
    try:
        return read_hook(verb)
    except VerbError as exc:
        raise click.BadParameter(f"{path}: {exc}", param_hint="--verb") from exc


def _check_keys(plan: CallPlan) -> None:
    """Check that the caller is still on the line for each key."""
    for key in plan.keys:
        if key.at > plan.seconds:
            when = "" if plan.hang_up_after is not None else ", when the audio ends"
            said = f"{key.digit}@{key.at:g} is too late: the caller hangs up at {plan.seconds:g} s"
            said += f"{when}; use --hangup-after S to stay longer"
            raise click.BadParameter(said, param_hint="--dtmf")


def _check_metadata(plan: CallPlan, path: Path | None) -> None:
    """Check that the metadata can be sent (LP-META-11); it is the same for all calls."""
    try:
        plan.task(keep_passed=False)
    except LocalProtocolError as exc:
        raise click.BadParameter(f"{path}: {exc}", param_hint="--verb") from exc


def _read_verb(path: Path) -> dict[str, JSON]:
    hint = "--verb"
    try:
        text = options.read_file(path, MOST_VERB, option=hint).decode()
        if text.startswith("\ufeff"):
            raise ValueError("it starts with a byte order mark (BOM); save it as UTF-8 without one")
        obj = unwrapped(DECODER.decode(text))
    except (ValueError, RecursionError) as exc:
        raise click.BadParameter(f"{path} is not valid JSON: {exc}", param_hint=hint) from exc
    if not isinstance(obj, dict):
        said = f"{path} must contain one listen verb, a JSON object"
        raise click.BadParameter(said, param_hint=hint)
    return obj


def _trust(cafile: Path | None, insecure: bool) -> ssl.SSLContext:
    """The CAs to trust: the system's, those of ``cafile`` too, or no checks at all."""
    context = ssl.create_default_context()
    if cafile is not None:
        try:
            context.load_verify_locations(cafile)
        except ssl.SSLError as exc:
            said = f"{cafile} is not a PEM file with certificates"
            raise click.BadParameter(said, param_hint="--cafile") from exc
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
