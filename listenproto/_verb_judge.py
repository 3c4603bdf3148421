"""What platforms do with a verb that is valid, but that they cannot carry out as it is meant.

Each rule is one function, and looks only at the fields of the profile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import urlsplit

import attrs

from listenproto._profile import DEPLOYED, Profile, profile_of
from listenproto._shown import shown
from listenproto._splitter import arrives_whole
from listenproto._verb import ListenVerb
from listenproto._verb_options import VerbError

__all__ = ["VerbWarning", "judge_verb", "refuse_verb"]


@attrs.frozen
class VerbWarning:
    """What a platform does with an option of a verb, and what to do about it."""

    option: str
    """The option's name in JSON, dotted if it is nested."""
    clause: str
    """The requirement where the spec says what such platforms do."""
    text: str
    """One sentence; it shows no credentials."""
    fatal: bool = False
    """Whether no call can come of the verb: the platform never connects, or not as it should."""

    def __str__(self) -> str:
        return f"{self.text} [{self.clause}]"


def judge_verb(verb: ListenVerb, profile: Profile | str = DEPLOYED) -> list[VerbWarning]:
    """What the platforms of a profile do otherwise than the verb asks for; empty if all is well.

    The profile may be given by name. Raises ValueError for one that does not exist.
    """
    profile = profile_of(profile)
    return [warning for rule in _RULES for warning in rule(verb, profile)]


def refuse_verb(verb: ListenVerb, profile: Profile) -> None:
    """Raise :class:`VerbError` for a verb of which no call can come."""
    for warning in judge_verb(verb, profile):
        if warning.fatal:
            raise VerbError(warning.option, None, "usable by the platform", said=str(warning))


def _judge_url(verb: ListenVerb, profile: Profile) -> Iterator[VerbWarning]:
    if not profile.narrow_urls:
        return
    scheme, _, rest = verb.url.partition("://")
    parts = urlsplit(verb.url)
    never = "deployed platforms never connect to it, and the call hangs in the verb"
    found: list[str] = []
    if parts.scheme and scheme not in (scheme.lower(), scheme.upper()):
        found.append(f"url has the scheme {scheme!r}: {never}; write it as {scheme.lower()!r}")
    if rest.startswith("["):
        found.append(f"url has an IPv6 address: {never}; use a host name or an IPv4 address")
    if parts.query and not parts.path:
        found.append(f"url has a query but no path: {never}; write '/?' instead of '?'")
    for odd in re.findall("['|]", verb.url)[:1]:
        code = f"%{ord(odd):02X}"
        fails = "deployed platforms fail the verb without connecting and without an actionHook"
        found.append(f"url has {shown(odd)} in it: {fails}; write it as {code}")
    yield from (VerbWarning("url", "LP-VERB-2", text, fatal=True) for text in found)


def _judge_credentials(verb: ListenVerb, profile: Profile) -> Iterator[VerbWarning]:
    auth, most = verb.ws_auth, profile.credentials_size
    if auth is None or most is None:
        return
    size = len((auth.username + auth.password).encode())
    if size > most:
        text = (
            f"wsAuth has a user name and password of {size} bytes together: deployed platforms send"
            f" wrong ones or none if there are more than {most}; use shorter ones"
        )
        yield VerbWarning("wsAuth", "LP-HS-4", text, fatal=True)


def _judge_auth(verb: ListenVerb, profile: Profile) -> Iterator[VerbWarning]:
    if verb.auth is not None and verb.ws_auth is None:
        text = "auth is not sent to the app, so the app gets no credentials; use wsAuth"
        yield VerbWarning("auth", "LP-HS-4", text)


def _judge_keys(verb: ListenVerb, profile: Profile) -> Iterator[VerbWarning]:
    if profile.finish_on_whole_string and len(verb.finish_on_key) > 1:
        text = (
            f"finishOnKey is {shown(verb.finish_on_key)}: deployed platforms compare each key with"
            " all of it, so no key ends the listen; give one key"
        )
        yield VerbWarning("finishOnKey", "LP-END-10", text)


def _judge_timeout(verb: ListenVerb, profile: Profile) -> Iterator[VerbWarning]:
    if profile.ignores_timeout and verb.timeout is not None:
        text = (
            f"timeout is {shown(verb.timeout)}: deployed platforms ignore it; let the app notice"
            " the silence and disconnect"
        )
        yield VerbWarning("timeout", "LP-END-13", text)


def _judge_stream(verb: ListenVerb, profile: Profile) -> Iterator[VerbWarning]:
    rate = verb.stream_rate
    if profile.plays_in_frames and rate not in (None, _CALL_RATE):
        text = (
            f"bidirectionalAudio.sampleRate is {rate}: deployed platforms resample the stream to"
            f" the rate of the call, mostly {_CALL_RATE}, and lose marks with audio behind them;"
            f" use {_CALL_RATE}, or send nothing behind a mark until its event has come"
        )
        yield VerbWarning("bidirectionalAudio.sampleRate", "LP-MARK-8", text)


def _judge_metadata(verb: ListenVerb, profile: Profile) -> Iterator[VerbWarning]:
    if not profile.splits_metadata:
        return
    for name, value in verb.metadata.items():
        if not arrives_whole(name, value):
            option = f"metadata.{name}"
            text = (
                f"{shown(option)} is damaged by deployed platforms; leave out apostrophes, and in"
                " names and nested values also quotes, backslashes and line breaks"
            )
            yield VerbWarning(option, "LP-META-11", text)


_CALL_RATE: Final = 8000
"""The sample rate in Hz of most calls."""
_NESTED: Final = (
    "id",
    "transcriptionHook",
    "translationHook",
    "recognizer",
    "earlyMedia",
    "channel",
)


def _judge_transcribe(verb: ListenVerb, profile: Profile) -> Iterator[VerbWarning]:
    if not profile.checks_transcribe:
        return
    for name in verb.transcribe or ():
        if name not in _NESTED:
            option = f"transcribe.{name}"
            text = f"{shown(option)} is unknown to deployed platforms, which refuse the verb"
            yield VerbWarning(option, "LP-VERB-1", f"{text}; leave it out")


_RULES: Final[tuple[Callable[[ListenVerb, Profile], Iterator[VerbWarning]], ...]] = (
    _judge_url,
    _judge_credentials,
    _judge_auth,
    _judge_keys,
    _judge_timeout,
    _judge_stream,
    _judge_metadata,
    _judge_transcribe,
)
