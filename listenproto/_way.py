"""What an end is told of its call: the verb, or else the mode and the rate of the way back.

What is told beside a verb must agree with it. That is checked here, for every end alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from listenproto._choices import member
from listenproto._l16 import PLAY_RATES, check_stream_rate
from listenproto._messages import Metadata, Mode
from listenproto._shown import shown
from listenproto._upgrade import Request
from listenproto._verb import ListenVerb

__all__ = [
    "ModeOf",
    "check_mode",
    "check_verb",
    "given_mode",
    "mode_for",
    "stream_rate_for",
    "way_of",
]

ModeOf: TypeAlias = Callable[[Request | None, Metadata], Mode | str]
"""Finds the mode of a call from the upgrade request and the metadata."""


def given_mode(mode: Mode | str | ModeOf) -> Mode | ModeOf:
    """The mode, or the function that finds it. Raises ValueError for anything else."""
    if callable(mode):
        return mode
    return member(Mode, mode, "mode", or_else="a function that returns one of these")


def mode_for(verb: ListenVerb | None, given: Mode | str | ModeOf | None = None) -> Mode | ModeOf:
    """The mode, or the function that finds it: ``given``, else the verb's, else clips.

    Raises ValueError for one that differs from the verb's; see :func:`check_mode`.
    """
    given = None if given is None else given_mode(given)
    if verb is None:
        return Mode.CLIPS if given is None else given
    check_verb(verb)
    if given is None:
        return verb.mode()
    check_mode(verb, given)
    return given


def check_mode(way: ListenVerb | Mode, mode: Mode | ModeOf) -> None:
    """Raise ValueError for a mode that is neither the way's own nor off.

    It is off if the verb is nested in a dial (LP-VERB-3).
    """
    own = way if isinstance(way, Mode) else way.mode()
    if mode is own or mode is Mode.OFF:
        return
    whose = "way" if isinstance(way, Mode) else "the verb's mode"
    given = repr(mode.value) if isinstance(mode, Mode) else "a function"
    raise ValueError(
        f"{whose} is {own.value}, but mode is {given}; leave mode out "
        "(or pass Mode.OFF for a verb nested in a dial)"
    )


def check_verb(verb: object) -> None:
    """Raise TypeError for anything but a ListenVerb, such as its JSON."""
    if not isinstance(verb, ListenVerb):
        raise TypeError(
            f"verb must be a ListenVerb (ListenVerb.from_json reads JSON), not {shown(verb)}"
        )


def way_of(way: ListenVerb | Mode | str) -> ListenVerb | Mode:
    """The verb, or the mode. Raises ValueError for anything else."""
    return way if isinstance(way, ListenVerb) else member(Mode, way, "way", or_else="a ListenVerb")


def stream_rate_for(verb: ListenVerb | None, given: int | None = None) -> int:
    """The sample rate of the app's stream in Hz: ``given``, else the verb's, else 8000.

    Raises ValueError for a rate that no verb can have, and for one that differs from this verb's.
    """
    asked = None if verb is None else verb.stream_rate
    usual = asked or PLAY_RATES[0]
    if given is None:
        return usual
    check_stream_rate(given)
    if verb is not None and given != usual:
        says = f"stream rate is {asked}" if asked else f"mode is {verb.mode().value}"
        raise ValueError(f"the verb's {says}, but stream_rate is {given}; leave stream_rate out")
    return given
