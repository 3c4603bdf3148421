"""The listen verb: its options, their JSON, and the mode that they give.

Each rule is written once, at its field, so that it holds for verbs built in Python and for verbs
read from JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, Self, cast
from urllib.parse import urlsplit

import attrs
from attrs.validators import optional

from listenproto._choices import listed, member
from listenproto._frozen import FrozenMapping, plain
from listenproto._l16 import LISTEN_RATES, PLAY_RATES
from listenproto._messages import JSON, MixType, Mode
from listenproto._shown import shown
from listenproto._url import ABSOLUTE, PATH, as_websocket, is_absolute, url_fault
from listenproto._verb_options import (
    FLAG,
    OBJECT,
    SECONDS,
    TEXT,
    Options,
    Rule,
    VerbError,
    is_json,
    matching,
)

__all__ = ["BidirectionalAudio", "ListenVerb", "WsAuth", "unwrapped"]


def _url_error(option: str, url: object, allowed: str) -> VerbError:
    fault = url_fault(url)
    said = f"{option} must {fault}; it is {shown(url)}" if fault else None
    return VerbError(option, url, allowed, said=said)


def _check_url(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not (is_absolute(value) or _path.holds(value)):
        raise _url_error(attribute.name, value, f"{ABSOLUTE}, or {_path.allowed}")


def _rate(rates: tuple[int, ...]) -> Rule:
    allowed = f"one of {', '.join(map(str, rates))} (Hz)"
    return Rule(allowed, lambda v: isinstance(v, int) and v in rates)


_VERBS: Final = ("listen", "stream")
_channel = Rule("a whole number from 1 to 2**53 - 1", lambda v: type(v) is int and 0 < v < 2**53)
_listen_rate = _rate(LISTEN_RATES)
_play_rate = _rate(PLAY_RATES)
_keys = matching(r"[0-9*#A-D]*", "a string of the keys 0-9 * # A-D, empty for none")
_verb = Rule(listed(_VERBS), lambda v: v in _VERBS)
# RFC 7617, 2: no control characters in either part, no colon in the user name
_username = matching(r"[^:\x00-\x1f\x7f\ud800-\udfff]*", "text without ':' and control characters")
_password = matching(r"[^\x00-\x1f\x7f\ud800-\udfff]*", "text without control characters")
# LP-VERB-1
_path = matching(PATH, "a path such as /call (same characters, one '/' in front)")
_hook = Rule(f"a string or {OBJECT.allowed}", lambda v: isinstance(v, str | Mapping) and is_json(v))

# Other ways to write an option; any other value is left for its rule to refuse.
_RATES: Final[Mapping[Any, Any]] = {key: rate for rate in PLAY_RATES for key in (str(rate), rate)}


def _read_rate(value: int | str) -> int:
    # A JSON writer may write 8000 as 8000.0, the same number.
    return _RATES.get(value, value) if isinstance(value, str | float) else value


def _read_mix(value: MixType | str) -> MixType:
    try:
        return member(MixType, value, "mixType")
    except ValueError:
        allowed = listed(mix.value for mix in MixType)
        raise VerbError("mixType", value, allowed) from None


def _read_seconds(value: float) -> float | None:
    return None if type(value) in (int, float) and value == 0 else value  # 0 is no limit


def _read_channel(value: float) -> int:
    whole = isinstance(value, float) and value.is_integer()
    return int(value) if whole else cast(int, value)


@attrs.frozen(kw_only=True)
class BidirectionalAudio(Options):
    """The verb's options for what the app may send.

    ``enabled`` is None if the verb does not have it: then the deprecated
    ``disableBidirectionalAudio`` decides, and without that it is enabled. ``sample_rate`` is that
    of the app's audio in Hz, needed only for ``streaming``. Raises :class:`VerbError`.
    """

    _prefix: ClassVar = "bidirectionalAudio."

    enabled: bool | None = attrs.field(default=None, validator=optional(FLAG))
    streaming: bool = attrs.field(default=False, validator=FLAG)
    sample_rate: int | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(_read_rate),
        validator=optional(_play_rate),
    )


@attrs.frozen(kw_only=True)
class WsAuth(Options):
    """HTTP Basic credentials for the WebSocket (RFC 7617). Raises :class:`VerbError`."""

    _prefix: ClassVar = "wsAuth."

    username: str = attrs.field(validator=_username)
    """The user name; without ``:`` and control characters."""
    password: str = attrs.field(validator=_password, repr=False)
    """The password; without control characters. Errors and ``repr()`` do not show it."""


def _read_way_back(value: BidirectionalAudio | Mapping[str, JSON] | None) -> BidirectionalAudio:
    if value is None:
        return BidirectionalAudio()
    return value if isinstance(value, BidirectionalAudio) else BidirectionalAudio.from_json(value)


def _read_metadata(value: Mapping[str, JSON] | None) -> Mapping[str, JSON]:
    return {} if value is None else value


def _read_transcribe(value: Mapping[str, JSON] | None) -> Mapping[str, JSON] | None:
    """Without its ``verb``, which its place says and published validators refuse there."""
    if not isinstance(value, Mapping):
        return value
    return {name: value[name] for name in value if name not in ("verb", "_")}


def _read_auth(value: WsAuth | Mapping[str, JSON]) -> WsAuth:
    return value if isinstance(value, WsAuth) else WsAuth.from_json(value)


@attrs.frozen(kw_only=True)
class ListenVerb(Options):
    """A listen verb, immutable and valid; anything else raises :class:`VerbError`.

    ``sample_rate`` is that of the platform's audio in Hz. ``max_length`` (of audio) and ``timeout``
    (of silence) are in seconds; 0 is taken as None, no limit. Any key in ``finish_on_key`` ends the
    listen. ``action_hook``, ``auth`` and ``transcribe`` are kept as they are, but for the ``verb``
    of the last; only ``ws_auth`` is sent to the app. JSON objects are copied, and read-only.
    Options may also be given as in JSON: rates and the mix type as strings,
    ``bidirectional_audio`` and ``ws_auth`` as objects. :func:`judge_verb` says what real platforms
    do with it.
    """

    _prefix: ClassVar = ""

    verb: Literal["listen", "stream"] = attrs.field(default="listen", validator=_verb)
    """``listen``, or its synonym ``stream``."""
    url: str = attrs.field(validator=_check_url)
    """Where the app is: a ws, wss, http or https URL, or a path on the application's server
    (LP-VERB-2)."""
    action_hook: str | Mapping[str, JSON] | None = attrs.field(
        default=None, validator=optional(_hook), repr=shown
    )
    bidirectional_audio: BidirectionalAudio = attrs.field(
        default=BidirectionalAudio(), converter=_read_way_back
    )
    disable_bidirectional_audio: bool | None = attrs.field(default=None, validator=optional(FLAG))
    """Deprecated: true turns off what ``bidirectional_audio.enabled`` does not turn on
    (LP-VERB-3)."""
    finish_on_key: str = attrs.field(default="", validator=_keys)
    max_length: int | float | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(_read_seconds),
        validator=optional(SECONDS),
    )
    metadata: Mapping[str, JSON] = attrs.field(
        default=FrozenMapping({}), converter=_read_metadata, validator=OBJECT
    )
    """What is added to the metadata that the app gets (LP-META-15)."""
    mix_type: MixType = attrs.field(default=MixType.MONO, converter=_read_mix)
    """Which parties are in the platform's audio, and so how many channels it has."""
    pass_dtmf: bool = attrs.field(default=False, validator=FLAG)
    """Whether the app is told of the keys that the caller presses (LP-DTMF-1)."""
    play_beep: bool = attrs.field(default=False, validator=FLAG)
    """Whether the caller hears a beep before the connection is made (LP-VERB-6)."""
    sample_rate: int = attrs.field(default=8000, converter=_read_rate, validator=_listen_rate)
    timeout: int | float | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(_read_seconds),
        validator=optional(SECONDS),
    )
    transcribe: Mapping[str, JSON] | None = attrs.field(
        default=None, converter=_read_transcribe, validator=optional(OBJECT)
    )
    ws_auth: WsAuth | None = attrs.field(
        default=None, converter=attrs.converters.optional(_read_auth)
    )
    auth: Mapping[str, JSON] | None = attrs.field(
        default=None, validator=optional(OBJECT), repr=False
    )
    early_media: bool | None = attrs.field(default=None, validator=optional(FLAG))
    """Whether the listen may start before the call is answered; kept as it is."""
    channel: int | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(_read_channel),
        validator=optional(_channel),
    )
    """Which channel of the call is meant; kept as it is."""
    id: str | None = attrs.field(default=None, validator=optional(TEXT))
    """A name for the verb; kept as it is."""

    def __attrs_post_init__(self) -> None:
        for key in ("sampleRate", "mixType"):  # LP-VERB-5
            if key in self.metadata:
                allowed = "left out, as the platform sets it itself"
                raise VerbError(f"metadata.{key}", self.metadata[key], allowed)
        if self.mode() is Mode.STREAMING and self.stream_rate is None:  # LP-VERB-4
            allowed = f"{_play_rate.allowed} if streaming is true"
            raise VerbError("bidirectionalAudio.sampleRate", None, allowed)
        for name in ("action_hook", "auth", "metadata", "transcribe"):
            if isinstance(value := getattr(self, name), Mapping):
                object.__setattr__(self, name, FrozenMapping(plain(value)))

    @classmethod
    def from_json(cls, obj: JSON) -> Self:
        """Read a JSON object, such as ``json.loads`` returns; it may be ``{"listen": {…}}``, too.

        Sample rates in it may be numbers or strings of digits. A member ``_`` is ignored. Raises
        :class:`VerbError` for anything that is not valid, unknown options included.
        """
        return super().from_json(unwrapped(obj))

    def to_json(self) -> dict[str, JSON]:
        """A new JSON object: ``verb``, ``url``, then the options that do not have their default."""
        return {"verb": self.verb, **super().to_json()}

    def mode(self, *, nested_in_dial: bool = False, bidirectional_in_dial: bool = False) -> Mode:
        """What the app may send (LP-VERB-3).

        The mode of a listen nested in a dial is off, unless the platform is
        ``bidirectional_in_dial``.
        """
        enabled = self.bidirectional_audio.enabled
        if enabled is None:
            enabled = not self.disable_bidirectional_audio
        if not enabled or (nested_in_dial and not bidirectional_in_dial):
            return Mode.OFF
        return Mode.STREAMING if self.bidirectional_audio.streaming else Mode.CLIPS

    @property
    def stream_rate(self) -> int | None:
        """The sample rate of the app's stream in Hz; None if it does not stream."""
        return self.bidirectional_audio.sample_rate if self.mode() is Mode.STREAMING else None

    @property
    def channels(self) -> int:
        """The channels of the platform's audio: 2 for stereo, else 1."""
        return self.mix_type.channels

    @property
    def websocket_url(self) -> str:
        """The URL as ws or wss (LP-VERB-2). Raises :class:`VerbError` if it is relative."""
        if self.url.startswith("/"):
            raise VerbError("url", self.url, "made absolute with resolve() first")
        return as_websocket(self.url)

    @property
    def target(self) -> str:
        """The target of the upgrade request: the path and query of the URL (LP-HS-2)."""
        url = urlsplit(self.url)
        return (url.path or "/") + (f"?{url.query}" if url.query else "")

    def resolve(self, base: str) -> ListenVerb:
        """This verb with an absolute URL: a relative one is on the server of the URL ``base``.

        Raises :class:`VerbError`, with ``option`` "base", if that is not an absolute URL.
        """
        if not self.url.startswith("/"):
            return self
        if not is_absolute(base):
            raise _url_error("base", base, ABSOLUTE)
        server = urlsplit(base)
        return attrs.evolve(self, url=f"{server.scheme}://{server.netloc}{self.url}")


def unwrapped(obj: JSON) -> JSON:
    """The verb of ``{"listen": {…}}``, with its options and its name beside each other."""
    for name in _VERBS:
        options = obj.get(name) if isinstance(obj, Mapping) and len(obj) == 1 else None
        if isinstance(options, Mapping) and "verb" not in options:
            return {**options, "verb": name}
    return obj
