"""What the listen verb and the objects in it have in common: rules for options, JSON both ways.

An option's name in JSON is always the attribute's name in camelCase.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Self

import attrs

from listenproto._frozen import plain
from listenproto._messages import JSON, MixType
from listenproto._shown import shown

__all__ = [
    "FLAG",
    "OBJECT",
    "SECONDS",
    "TEXT",
    "Options",
    "Rule",
    "VerbError",
    "is_json",
    "matching",
]


class VerbError(ValueError):
    """A listen verb that is not valid; the message is one sentence.

    ``option`` is its name in JSON, dotted if it is nested (``bidirectionalAudio.sampleRate``),
    ``value`` is what it was (None also if it was missing), ``allowed`` is what it must be. The
    message shortens long values and shows no credentials; with ``said``, it is that instead.
    """

    def __init__(
        self, option: str, value: object, allowed: str, *, said: str | None = None
    ) -> None:
        name = option if option.isprintable() and len(option) <= 80 else shown(option)
        found = "missing or null" if value is None else shown(value)
        if value is not None and "auth" in option.lower():
            found = f"a {type(value).__name__} that is not shown here"
        super().__init__(said or f"{name} must be {allowed}; it is {found}")
        self.option: str = option
        self.value: object = value
        self.allowed: str = allowed


@attrs.frozen
class Rule:
    """A validator (LP-VERB-1): the values for which ``holds`` is true, and ``allowed`` in words."""

    allowed: str
    holds: Callable[[Any], bool]

    def __call__(self, instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not self.holds(value):
            raise VerbError(instance._prefix + _camel(attribute.name), value, self.allowed)


_DEEPEST: Final = 32


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # JSON readers limit the digits of a number, ours to 64 characters
    return abs(value) < 10**60 if isinstance(value, int) else math.isfinite(value)


def is_json(value: object, depth: int = _DEEPEST) -> bool:
    """Whether a value can be sent as JSON, nested no deeper than that."""
    if isinstance(value, Mapping):
        return depth > 0 and all(TEXT.holds(k) and is_json(value[k], depth - 1) for k in value)
    if isinstance(value, list | tuple):
        return depth > 0 and all(is_json(item, depth - 1) for item in value)
    return value is None or isinstance(value, bool) or _is_number(value) or TEXT.holds(value)


def matching(pattern: str, allowed: str) -> Rule:
    """The rule for strings that match a pattern as a whole."""
    return Rule(allowed, lambda v: isinstance(v, str) and re.fullmatch(pattern, v) is not None)


FLAG: Final = Rule("true or false", lambda v: isinstance(v, bool))
SECONDS: Final = Rule("a finite number of seconds, 0 or more", lambda v: _is_number(v) and v >= 0)
TEXT: Final = matching(r"[^\ud800-\udfff]*", "a string of UTF-8 text")
OBJECT: Final = Rule(
    "a JSON object (UTF-8 text, finite numbers, integers below 10**60,"
    f" at most {_DEEPEST} levels deep)",
    lambda v: isinstance(v, Mapping) and is_json(v),
)


class Options:
    """JSON both ways, for a class whose attributes are options."""

    __slots__ = ()
    _prefix: ClassVar[str]

    @classmethod
    def from_json(cls, obj: JSON) -> Self:
        """Read a JSON object, such as ``json.loads`` returns.

        Sample rates in it may be numbers or strings of digits. A member ``_`` is ignored. Raises
        :class:`VerbError` for anything that is not valid, unknown options included.
        """
        if not cls._prefix and isinstance(obj, str | bytes) and obj.lstrip()[:1] in ("{", b"{"):
            said = "from_json takes an object (a dict); read the text with json.loads first"
            raise VerbError("listen verb", obj, "a JSON object", said=said)
        if not isinstance(obj, Mapping):
            raise VerbError(cls._prefix.rstrip(".") or "listen verb", obj, "a JSON object")
        options = cls._options()
        required = {f.name: None for f in options.values() if f.default is attrs.NOTHING}
        given = {}
        for key, value in obj.items():
            if key == "_":
                continue
            if key not in options:
                raise cls._unknown(str(key), value)
            given[options[key].name] = value
        return cls(**required | given)

    def to_json(self) -> dict[str, JSON]:
        """A new JSON object, without the options that have their default."""
        return {
            name: _plain(value)
            for name, field in self._options().items()
            if (value := getattr(self, field.name)) != field.default
        }

    @classmethod
    def _options(cls) -> dict[str, attrs.Attribute[Any]]:
        return {_camel(field.name): field for field in attrs.fields(cls)}  # type: ignore[arg-type]

    @classmethod
    def _unknown(cls, key: str, value: JSON) -> VerbError:
        known = {name.lower(): cls._prefix + name for name in cls._options()}
        near = difflib.get_close_matches(key.lower().replace("_", "")[:40], known, n=1)
        hint = f" (did you mean {known[near[0]]}?)" if near else ""
        option = cls._prefix + key
        said = f"unknown option {shown(option)}{hint}"
        return VerbError(option, value, "left out", said=said)


def _camel(attribute: str) -> str:
    return re.sub("_(.)", lambda letter: letter[1].upper(), attribute)


def _plain(value: Any) -> Any:
    if isinstance(value, Options):
        return value.to_json()
    return value.value if isinstance(value, MixType) else plain(value)
