"""The table of messages: it has every message once, and says what their types say."""

from __future__ import annotations

from typing import get_args

import attrs
import pytest

import listenproto
from listenproto import FromApp, FromPlatform, Message, Mode, Peer
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
    assert set(get_args(types)) == may_send - {listenproto.Close}
    assert {kind for row in TRANSITIONS[peer].values() for kind in row} == may_send


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.kind.__name__)
def test_a_row_is_whole(row: Row) -> None:
    assert (row.clause is None) == (row.modes == frozenset(Mode))
    assert row.clause is None or Peer.APP in row.senders
    if row.is_bare:
        assert row.build is None and attrs.fields(row.kind) == ()
    elif row.name is not None:
        assert row.parse is not None and row.build is not None
