"""Limits, and how many calls are taken: a wrong value is refused at once."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest

from listenproto import HandshakePolicy, Limits

TIMES = ["handshake_time", "unread_seconds", "write_time", "close_time"]
WHILES = ["ping_interval", "ping_time"]
SIZES = ["head_size", "message_size", "outbox_size", "unread_events"]


def test_each_limit_is_of_a_kind() -> None:
    assert {*TIMES, *WHILES, *SIZES} == {field.name for field in attrs.fields(Limits)}


@pytest.mark.parametrize("name", TIMES + WHILES)
@pytest.mark.parametrize("value", [-1, math.nan, "5", None, True])
def test_a_time_is_a_number_of_seconds(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be a number of seconds, "):
        Limits(**{name: value})


@pytest.mark.parametrize("name", TIMES + WHILES)
def test_a_time_may_be_without_limit_and_some_may_be_none_at_all(name: str) -> None:
    assert getattr(Limits(**{name: math.inf}), name) == math.inf
    if name in WHILES:
        with pytest.raises(ValueError, match=r", more than 0; it is 0$"):
            Limits(**{name: 0})
    else:
        assert getattr(Limits(**{name: 0}), name) == 0


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("value", [-1, 0.5, "5", None, True])
def test_a_size_is_a_whole_number(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be a whole number of 0 or more; it is "):
        Limits(**{name: value})


@pytest.mark.parametrize("value", [-1, "x", 0.5])
def test_a_number_of_calls_is_a_whole_number(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^max_calls must be a whole number of 0 or more"):
        HandshakePolicy(max_calls=value)
