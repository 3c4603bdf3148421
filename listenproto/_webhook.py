"""The webhooks of an application: the HTTP requests that go with the WebSocket.

The platform posts the attributes of a call to the application's call webhook (:class:`CallHook`)
and carries out the verbs that come back (:func:`write_verbs`, :func:`read_verbs`). When a listen
ends, it posts the result to the actionHook (:class:`ActionHook`), which may return more verbs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final, Self, TypeAlias
from urllib.parse import parse_qsl

import attrs

from listenproto._frozen import FrozenMapping, plain
from listenproto._jsontext import TOO_LARGE, values, well_formed, whole_number
from listenproto._messages import JSON
from listenproto._profile import DOCUMENTED, Profile, profile_of
from listenproto._shown import shown
from listenproto._terms import DIGITS
from listenproto._verb import ListenVerb
from listenproto._verb_judge import refuse_verb

__all__ = [
    "ActionHook",
    "AnyVerb",
    "CallHook",
    "WebhookBody",
    "WebhookError",
    "read_verbs",
    "write_verbs",
]

AnyVerb: TypeAlias = ListenVerb | Mapping[str, JSON]
"""A listen verb, or the JSON object of any other verb."""

MAX_FIELDS: Final = 1000
"""The most fields that a query may have."""

MAX_KEPT: Final = 1000
"""How much of a value an error keeps: characters, bytes, items in all."""

WebhookBody: TypeAlias = str | bytes | bytearray | memoryview
"""What came over HTTP: text, or its UTF-8 bytes."""


class WebhookError(ValueError):
    """What a webhook received or was to send is not valid; the message is one sentence.

    ``field`` is its name in JSON, or ``body`` or ``query`` for the whole; ``value`` is what it was
    (None also if it was missing; the first 1000 characters of a long text; of a large array or
    object, what the message shows); ``allowed`` is what it must be. The message shortens long
    values and shows no passwords; with ``found``, it shows that instead of the value.
    """

    def __init__(self, field: str, value: object, allowed: str, *, found: str = "") -> None:
        if not found:
            found = "missing or null" if value is None else shown(value)
        super().__init__(f"{field} must be {allowed}; it is {found}")
        self.field: str = field
        self.value: object = _kept(value)
        self.allowed: str = allowed


def _kept(value: object) -> object:
    """The part of a value that an error keeps, so that it never keeps a body of many MiB."""
    if isinstance(value, memoryview):
        return bytes(value[:MAX_KEPT])
    if isinstance(value, str | bytes | bytearray):
        return value[:MAX_KEPT]
    room, todo = MAX_KEPT, [value]
    while todo:
        item = todo.pop()
        room -= len(item) if isinstance(item, str | bytes | Mapping | list | tuple) else 1
        if room < 0:
            return shown(value)
        if isinstance(item, Mapping):
            todo += [*item, *item.values()]
        elif isinstance(item, list | tuple):
            todo += item
    return value


def _frozen(value: Mapping[str, JSON]) -> Mapping[str, JSON]:
    return FrozenMapping(plain(value))


@attrs.frozen
class _Hook:
    """The attributes of a call, and how they are read."""

    attributes: Mapping[str, JSON] = attrs.field(default=FrozenMapping({}), converter=_frozen)

    @classmethod
    def from_body(cls, body: WebhookBody) -> Self:
        """Read the body of a POST: JSON, within the same bounds as messages."""
        return cls.from_json(_json(body, "a JSON object", mend=True))

    @classmethod
    def from_query(cls, query: WebhookBody) -> Self:
        """Read the query of a GET: each value is a string, or None if it is empty."""
        text = _text(query, "query", errors="replace").removeprefix("?")
        try:
            fields = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
        except ValueError:
            fields = None
        if fields is None:
            found = "text with more fields"
            raise WebhookError(
                "query", query, f"text with at most {MAX_FIELDS} fields", found=found
            )
        return cls.from_json({name: value or None for name, value in fields})

    @classmethod
    def from_json(cls, obj: JSON) -> Self:
        """Read a JSON object, such as ``json.loads`` returns."""
        if not isinstance(obj, Mapping):
            raise WebhookError("body", obj, "a JSON object")
        try:
            return cls(**cls._read(well_formed(plain(obj))))
        except RecursionError:
            pass
        raise WebhookError("body", obj, "a JSON object", found="nested too deeply")

    def to_json(self) -> dict[str, JSON]:
        """A new JSON object, as the platform posts it; ``from_json`` reads it."""
        return dict(plain(self.attributes))

    @classmethod
    def _read(cls, obj: dict[str, JSON]) -> dict[str, Any]:
        return {"attributes": obj}

    def _text(self, name: str) -> str | None:
        value = self.attributes.get(name)
        return value if isinstance(value, str) else None

    @property
    def call_sid(self) -> str | None:
        """The call's sid, the same as in the metadata of its listens."""
        return self._text("call_sid")

    @property
    def direction(self) -> str | None:
        """``inbound`` or ``outbound``."""
        return self._text("direction")

    @property
    def from_(self) -> str | None:
        """The caller."""
        return self._text("from")

    @property
    def to(self) -> str | None:
        """The called party."""
        return self._text("to")

    @property
    def call_id(self) -> str | None:
        """The SIP Call-ID."""
        return self._text("call_id")

    @property
    def account_sid(self) -> str | None:
        """The account at the platform."""
        return self._text("account_sid")

    @property
    def application_sid(self) -> str | None:
        """The application at the platform."""
        return self._text("application_sid")

    @property
    def call_status(self) -> str | None:
        """How far the call has got: ``trying``, ``in-progress``, ``completed``, …"""
        return self._text("call_status")

    @property
    def sip_status(self) -> int | None:
        """The SIP status code."""
        return whole_number(self.attributes.get("sip_status"))


@attrs.frozen
class CallHook(_Hook):
    """What the call webhook receives: a call has come in, or an outgoing call was answered.

    ``attributes`` are those of the call, by their snake_case names, unknown ones included. The
    usual ones have properties, which are None if they are missing or of another type. Anything in a
    name or a value that is not UTF-8, lone surrogates included, is replaced by U+FFFD. So, as with
    the metadata, no call fails because of them. Raises :class:`WebhookError` for anything but a
    JSON object.
    """


@attrs.frozen
class ActionHook(_Hook):
    """What the actionHook receives when a listen ends (LP-END-16).

    ``attributes`` are those of the call, as in :class:`CallHook`. ``dial_call_duration`` is how
    long it listened, in whole seconds, None if it never connected (LP-END-17); ``digits`` is the
    key that ended it, None if none did (LP-END-18). Raises :class:`WebhookError`.
    """

    dial_call_duration: int | None = attrs.field(default=None, kw_only=True)
    digits: str | None = attrs.field(default=None, kw_only=True)

    @dial_call_duration.validator
    def _check_duration(self, attribute: object, value: int | None) -> None:
        if value is not None and (type(value) is not int or not 0 <= value < TOO_LARGE):
            allowed = "a whole number of seconds below 10**15"
            raise WebhookError("dial_call_duration", value, allowed)

    @digits.validator
    def _check_digits(self, attribute: object, value: str | None) -> None:
        if value is None or (isinstance(value, str) and len(value) == 1 and value in DIGITS):
            return
        raise WebhookError("digits", value, f"one of the keys {DIGITS}")

    @classmethod
    def _read(cls, obj: dict[str, JSON]) -> dict[str, Any]:
        duration, digits = obj.pop("dial_call_duration", None), obj.pop("digits", None)
        number = whole_number(duration)
        return {
            "attributes": obj,
            "dial_call_duration": duration if number is None else number,
            "digits": digits,
        }

    def to_json(self) -> dict[str, JSON]:
        """A new JSON object, as the platform posts it; ``from_json`` reads it."""
        ended = {"dial_call_duration": self.dial_call_duration, "digits": self.digits}
        told = {name: value for name, value in super().to_json().items() if name not in ended}
        return told | {name: value for name, value in ended.items() if value is not None}


def write_verbs(*verbs: AnyVerb, profile: Profile | str = DOCUMENTED) -> str:
    """The JSON array of verbs that answers a webhook; if empty, the call goes on as it was.

    Verbs other than a listen are written as they are. Send it as ``application/json``. Raises
    :class:`WebhookError` and :class:`~listenproto.VerbError` for what :func:`read_verbs` would
    refuse, with this profile.
    """
    found = text = ""
    try:
        text = json.dumps(verbs, allow_nan=False, separators=(",", ":"), default=_plain)
    except RecursionError:
        found = "nested too deeply"
    except (TypeError, ValueError) as exc:
        why = "a very long number" if "integer string" in str(exc) else str(exc)
        found = f"not valid JSON: {why}"
    if found:
        raise WebhookError("body", verbs, "a JSON array of verbs", found=found)
    read_verbs(text, profile=profile)
    return text


def _plain(value: object) -> JSON:
    """Converts what ``json.dumps`` does not know: a listen, at any depth, and frozen JSON."""
    if isinstance(value, ListenVerb):
        return value.to_json()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def read_verbs(body: WebhookBody, *, profile: Profile | str = DOCUMENTED) -> list[AnyVerb]:
    """The verbs of a webhook's answer, in order; only listen verbs are checked.

    A relative URL is on the server of the webhook: see :meth:`ListenVerb.resolve`. A verb may
    also be written as ``{"say": {…}}``. Raises :class:`WebhookError` for anything but a JSON array
    of verbs, :class:`~listenproto.VerbError` for a listen that cannot be carried out, or of which
    no call can come with platforms of this profile (:attr:`VerbWarning.fatal`).
    """
    array = _json(body, "a JSON array of verbs")
    if not isinstance(array, list):
        raise WebhookError("body", array, "a JSON array of verbs")
    verbs = [*_verbs(array)]
    profile = profile_of(profile)
    for verb in verbs:
        if isinstance(verb, ListenVerb):
            refuse_verb(verb, profile)
    return verbs


def _verbs(array: list[JSON]) -> Iterator[AnyVerb]:
    for index, item in enumerate(array):
        where = f"body[{index}]"
        if not isinstance(item, dict):
            raise WebhookError(where, item, "a JSON object")
        if "verb" not in item and len(item) == 1:
            ((name, options),) = item.items()
            item = {**options, "verb": name} if isinstance(options, dict) else item
        name = item.get("verb")
        if not isinstance(name, str):
            raise WebhookError(f"{where}.verb", name, "the name of a verb")
        yield ListenVerb.from_json(item) if name in ("listen", "stream") else item


def _text(body: WebhookBody, field: str, *, errors: str = "strict") -> str:
    if isinstance(body, str):
        return body
    if not isinstance(body, bytes | bytearray | memoryview):
        raise TypeError(f"{field} must be str or bytes, not {type(body).__name__}")
    return bytes(body).decode(errors=errors)


def _json(body: WebhookBody, allowed: str, *, mend: bool = False) -> JSON:
    """The one JSON value of a body; with ``mend``, lone surrogates are left for the caller."""
    read: list[JSON] = []
    found = ""
    try:
        text = _text(body, "body", errors="replace" if mend else "strict")
        read = [value for value, _, _ in islice(values(text, lone_surrogates=mend), 2)]
    except UnicodeDecodeError as exc:
        found = f"not valid JSON: byte {exc.start} is not UTF-8"
    except ValueError as exc:
        found = f"not valid JSON: {exc}"
    if len(read) > 1:
        found = "more than one JSON value"
    if found:  # not in the except clause: its exception would keep the body
        raise WebhookError("body", body, allowed, found=found)
    return read[0]
