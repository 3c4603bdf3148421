"""A session on another library's WebSocket, without any IO."""

from __future__ import annotations

from typing import Any

import pytest

from listenproto import (
    AppCall,
    AppSession,
    Audio,
    Close,
    Closed,
    ConnectionEvent,
    LocalProtocolError,
    MessageConnection,
    Metadata,
    Mode,
    Outcome,
    Payload,
    PlayAudio,
    RemoteProtocolError,
)


def opened(*payloads: Payload) -> tuple[MessageConnection, list[ConnectionEvent]]:
    """A connection in a streaming call, and what these messages mean."""
    connection = MessageConnection(AppSession(mode=Mode.STREAMING))
    first, *events = connection.receive(["{}", *payloads])
    assert isinstance(first, Metadata)
    return connection, events


def send(connection: MessageConnection, pcm: bytes) -> None:
    connection._session.send(Audio(pcm))


def test_messages_are_events_up_to_the_close() -> None:
    connection, events = opened(b"\1\0", Close(3000, "enough"), b"\2\0")
    assert events == [
        Audio(b"\1\0"),
        Close(3000, "enough"),
        Closed(3000, "enough", clean=True),
    ]
    assert (connection.finished, connection.ended, connection.left) == (True, True, False)
    assert [*connection.receive([])] == []


@pytest.mark.parametrize("data", ["text", b"\1\0", Close(1000), None])
def test_messages_come_in_a_list(data: Any) -> None:
    connection, _ = opened()
    kind = type(data).__name__
    with pytest.raises(
        TypeError, match=f"^pass a list of messages, each str, bytes or Close, not a {kind}$"
    ):
        connection.receive(data)
    assert [*connection.receive([])] == []
    call = AppCall(now=0.0, over_messages=True)
    with pytest.raises(TypeError, match=r"^pass a list of messages"):
        call.receive(data, 0.0)
    call.receive(["{}"], 0.0)
    assert call.metadata is not None


@pytest.mark.parametrize("payload", [5, None, bytearray(b"\1\0"), [b"\1\0"]])
def test_what_is_no_message_is_refused_with_all_that_came_with_it(payload: Any) -> None:
    call = AppCall(now=0.0, over_messages=True)
    kind = type(payload).__name__
    with pytest.raises(TypeError, match=f"^each message must be str, bytes or Close, not {kind}$"):
        call.receive(["{}", payload], 0.0)
    assert call.metadata is None
    call.receive(["{}"], 0.0)
    assert call.metadata is not None


@pytest.mark.parametrize("data", ["GET", None, [b"GET"], 5])
def test_what_is_not_bytes_is_refused(data: Any) -> None:
    call = AppCall(now=0.0)
    kind = type(data).__name__
    with pytest.raises(TypeError, match=f"^pass bytes from the network, not {kind}$"):
        call.receive(data, 0.0)
    assert not call.over


def test_nothing_is_sent_after_the_other_ends_close() -> None:
    connection, _ = opened()
    send(connection, b"\1\0")
    assert connection.has_data_to_send
    assert len([*connection.receive([Close(1000)])]) == 2
    assert (connection.has_data_to_send, connection.data_to_send()) == (False, [])


def test_a_loss_comes_behind_what_came_before() -> None:
    connection, _ = opened()
    connection.receive([b"\1\0"])  # its event comes with the next ones
    assert [*connection.connection_lost()] == [Audio(b"\1\0"), Closed(1006, "", clean=False)]
    assert (connection.finished, connection.ended, connection.left) == (True, True, False)


def test_what_is_cut_short_was_heard_until_then_by_the_clock() -> None:
    session = AppSession()
    connection = MessageConnection(session)
    list(connection.receive(["{}"], 0.5))
    sent = session.send(PlayAudio(bytes(32000), sample_rate=8000), 1.0)
    assert sent is not None
    list(connection.receive([Close(1000)], 2.5))
    assert (sent.outcome, sent.heard) == (Outcome.LOST, 1.5)


def test_what_is_sent_comes_out_in_batches() -> None:
    connection, _ = opened()
    for size in (60000, 6000, 65536, 2, 2):
        send(connection, bytes(size))
    connection.close(1001, "enough")
    assert connection.waiting == 60000 + 6000 + 65536 + 4
    assert [[*map(len, connection.data_to_send())] for _ in range(2)] == [[60000, 6000], [65536]]
    assert connection.data_to_send() == [bytes(2), bytes(2), Close(1001, "enough")]
    assert (connection.waiting, connection.data_to_send()) == (0, [])
    assert (connection.finished, connection.ended, connection.left) == (False, True, True)


def test_a_fault_is_raised_where_it_is_and_answered() -> None:
    connection = MessageConnection(AppSession())
    with pytest.raises(RemoteProtocolError) as fault:
        [*connection.receive([b"\0\0", "{}"])]
    assert not connection.finished
    connection.fail(fault.value)
    assert (connection.finished, connection.has_data_to_send) == (True, True)
    assert connection.data_to_send() == [Close(1002, str(fault.value))]
    assert (connection.has_data_to_send, connection.data_to_send()) == (False, [])
    assert [*connection.receive([])] == []


def test_after_a_fault_what_waits_is_sent_before_the_close() -> None:
    connection, _ = opened()
    send(connection, b"\1\0")
    connection.fail(LocalProtocolError("enough", clause="LP-END-6"))
    assert connection.data_to_send() == [b"\1\0", Close(1002, "enough [LP-END-6]")]


def test_pings_are_up_to_the_library() -> None:
    connection, _ = opened()
    connection.ping()
    assert not connection.has_data_to_send
