"""The table of messages: it has every message once, and says what their types say."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Final, get_args

import attrs
import pytest

import listenproto
from listenproto import (
    Close,
    FromApp,
    FromPlatform,
    Message,
    Metadata,
    Mode,
    Peer,
    PlayDone,
    UnknownMessage,
)
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


NESTED: Final = {"callSid": "c", "list": [1, {"a": []}], "object": {"b": None}, "none": None}


@pytest.mark.parametrize(
    "message", [Metadata(NESTED), PlayDone("a", NESTED), UnknownMessage(NESTED)], ids=repr
)
def test_messages_with_objects_in_them_are_values(message: Message) -> None:
    for same in (copy.copy(message), copy.deepcopy(message), pickle.loads(pickle.dumps(message))):
        assert (same, hash(same)) == (message, hash(message))


@pytest.mark.parametrize("kind", [PlayDone, UnknownMessage])
def test_objects_that_differ_in_a_value_or_a_name_hash_apart(kind: Callable[..., Message]) -> None:
    objects = ({}, {"a": 1}, {"a": 2}, {"b": 1}, {"a": {}}, {"b": []})
    named = [kind(**{"body" if kind is UnknownMessage else "playback": one}) for one in objects]
    assert len({*map(hash, named)}) == len(objects)


def test_an_object_of_a_message_cannot_be_changed() -> None:
    given = {"type": "a"}
    message = UnknownMessage(given)
    given["type"] = "b"
    assert (message.type, len(message.body), repr(message.body)) == ("a", 1, "{'type': 'a'}")
    with pytest.raises(TypeError, match="does not support item assignment"):
        message.body["type"] = "b"  # type: ignore[index]


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
