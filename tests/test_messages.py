"""The table of messages: it has every message once, and says what their types say."""

from __future__ import annotations

from typing import get_args

import attrs
import pytest

import listenproto
from listenproto import Close, FromApp, FromPlatform, Message, Metadata, Mode, Peer
from listenproto._messages import ROWS, Row
from listenproto._rules import TRANSITIONS


def test_every_message_has_one_row_and_is_exported() -> None:
    kinds = [row.kind for row in ROWS]
    assert len(kinds) == len(set(kinds))
    assert set(kinds) == set(get_args(Message))
    assert {kind.__name__ for kind in kinds} <= set(listenproto.__all__)


@pytest.mark.parametrize(("peer", "types"), [(Peer.APP, FromApp), (Peer.PLATFORM, FromPlatform)])
def test_the_types_of_what_a_peer_sends_are_those_of_the_table(peer: Peer, types: object) -> None:
    may_send = {row.kind for row in ROWS if peer in row.senders}
    assert set(get_args(types)) == may_send - {Close}
    assert {kind for row in TRANSITIONS[peer].values() for kind in row} == may_send


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.kind.__name__)
def test_a_row_is_whole(row: Row) -> None:
    assert (row.clause is None) == (row.modes == frozenset(Mode))
    assert row.clause is None or Peer.APP in row.senders
    if row.is_bare:
        assert row.build is None and attrs.fields(row.kind) == ()
    elif row.name is not None:
        assert row.parse is not None and row.build is not None


@pytest.mark.parametrize(
    ("attributes", "sid"), [({"callSid": "c"}, "c"), ({"callSid": 5}, None), ({}, None)]
)
def test_the_sid_of_a_call_is_a_text_of_the_metadata(
    attributes: dict[str, object], sid: str | None
) -> None:
    assert Metadata(attributes).call_sid == sid


def test_how_metadata_came_is_no_part_of_its_value() -> None:
    plain = Metadata({"callSid": "c"})
    assert (plain.size, plain.flaw) == (0, "")
    came = Metadata({"callSid": "c"}, size=17, flaw="why")
    assert (came, repr(came), hash(came)) == (plain, repr(plain), hash(plain))


def test_a_wrong_mix_type_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^mix_type must be "):
        Metadata(mix_type="quad")  # type: ignore[arg-type]


def test_a_close_is_a_normal_one_without_a_reason_unless_given() -> None:
    assert Close() == Close(1000, "")
