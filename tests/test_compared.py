"""What the machines compare, what they call a difference, and the breaches that they draw from."""

from __future__ import annotations

import pytest

from listenproto import (
    BidirectionalAudio,
    Close,
    Disconnect,
    Heard,
    ListenTask,
    ListenVerb,
    Message,
    Metadata,
    Mode,
    Observer,
    Peer,
    PlayAudio,
    UnknownMessage,
)
from listenproto._l16 import FLICKS
from listenproto._profile import DOCUMENTED
from listenproto.testing.compared import Compared, joined
from listenproto.testing.conversations import _breaches

P, A = Peer.PLATFORM, Peer.APP
SAMPLE = FLICKS // 8000
CLIP = '{"type":"playAudio","data":{"audioContent":"AQACAA==","audioContentType":"raw",\
"sampleRate":8000}}'

VERBS = {
    Mode.OFF: ListenVerb(url="/", bidirectional_audio=BidirectionalAudio(enabled=False)),
    Mode.CLIPS: ListenVerb(url="/", pass_dtmf=True),
    Mode.STREAMING: ListenVerb(
        url="/", bidirectional_audio=BidirectionalAudio(streaming=True, sample_rate=8000)
    ),
}


class Untold(ListenTask):
    """Plays, and does not tell what."""

    def play(self, flicks: int) -> None:
        super().play(flicks)


def compared(
    platform: type[ListenTask] = ListenTask,
) -> tuple[Compared, ListenTask, ListenTask]:
    """Two platforms of a clips call that are told the same, and both of them."""
    verb = VERBS[Mode.CLIPS]
    both = platform(verb, {}), ListenTask(verb, {})
    pair = Compared(*both, mode=Mode.CLIPS, profile=DOCUMENTED)
    pair.connected()
    return pair, *both


def test_two_that_are_alike_are_told_alike_however_they_cut_the_audio() -> None:
    pair, platform, reference = compared()
    pair.key("1")
    platform.capture(bytes(640))
    reference.capture(bytes(320))
    assert [*pair.data_to_send()][2:] == [bytes(320)] * 2
    pair.hang_up()
    with pytest.raises(AssertionError, match="LP-AUD-2"):
        [*pair.data_to_send()]


@pytest.mark.parametrize(
    ("of_the_platform", "of_the_reference", "clause"),
    [
        (["1"], ["2"], "LP-DTMF-2"),
        (["1", "2"], ["2"], "LP-DTMF-2"),
        (["1"], ["1", "2"], "LP-DTMF-2"),
        (["1", "#"], ["1"], "LP-END-9"),
        (["1"], ["1", "#"], "LP-END-9"),
    ],
)
def test_the_first_difference_names_the_clause(
    of_the_platform: list[str], of_the_reference: list[str], clause: str
) -> None:
    """Here ``#`` is a hang-up."""
    pair, platform, reference = compared()
    for end, keys in ((platform, of_the_platform), (reference, of_the_reference)):
        for key in keys:
            end.hang_up() if key == "#" else end.key(key)
    with pytest.raises(AssertionError, match=f"^{clause}: the platform sends "):
        [*pair.data_to_send()]


def test_what_is_sent_comes_before_it_is_compared() -> None:
    """Who judges by the messages alone knows a better clause."""
    pair, platform, _ = compared()
    platform.key("1")
    sent = pair.data_to_send()
    assert next(sent).startswith("{")
    assert '"dtmf"' in next(sent)
    with pytest.raises(AssertionError, match="LP-DTMF-2"):
        next(sent)


def test_messages_that_the_protocol_does_not_name_are_a_platforms_own() -> None:
    pair, platform, _ = compared()
    platform.session.send(UnknownMessage({"type": "someday"}))
    assert len([*pair.data_to_send()]) == 2


def test_what_is_heard_is_compared_to_the_sample() -> None:
    pair, platform, _ = compared()
    pair.receive(CLIP)
    assert pair.play(SAMPLE) == [Heard(b"\1\0", 8000, 0)]
    platform.play(SAMPLE)
    with pytest.raises(AssertionError, match="LP-CLIP-20: the caller hears"):
        pair.play(SAMPLE)


def test_a_kill_that_has_not_come_through_is_told_as_one() -> None:
    pair, platform, reference = compared()
    pair.receive(CLIP)
    pair.receive('{"type":"killAudio"}')
    platform.receive(CLIP)
    with pytest.raises(AssertionError, match=r"^LP-KILL-2: "):
        pair.play(SAMPLE)
    reference.receive(CLIP.replace("AQAC", "BwAC"))
    with pytest.raises(AssertionError, match=r"^LP-KILL-2 or LP-CLIP-20: "):
        pair.play(SAMPLE)


def test_of_a_platform_that_does_not_tell_nothing_is_compared() -> None:
    pair, _, _ = compared(Untold)
    pair.receive(CLIP)
    assert [*pair.play(SAMPLE)] == []


def test_pieces_are_joined_where_one_goes_on_from_another() -> None:
    pieces = [(b"", 0), (b"\1\0", 0), (b"\2\0", SAMPLE), (b"\3\0", 3 * SAMPLE)]
    assert joined(Heard(pcm, 8000, start) for pcm, start in pieces) == [
        Heard(b"\1\0\2\0", 8000, 0),
        Heard(b"\3\0", 8000, 3 * SAMPLE),
    ]


OPEN = (P, Metadata())
HISTORIES: list[list[tuple[Peer, Message]]] = [
    [],
    [OPEN],
    [OPEN, (A, PlayAudio(b"\1\0", sample_rate=8000))],
    [OPEN, (A, Disconnect())],
    [OPEN, (P, Close())],
    [OPEN, (A, Close())],
]


@pytest.mark.parametrize("vantage", Peer)
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("passed", HISTORIES, ids=lambda passed: f"{len(passed)}")
def test_every_breach_that_may_be_drawn_is_one_and_no_other(
    mode: Mode, vantage: Peer, passed: list[tuple[Peer, Message]]
) -> None:
    verb = VERBS[mode]
    observer = Observer(verb, vantage=vantage)
    for sender, message in passed:
        observer.see(sender, message)
    offered = [*_breaches(observer, verb)]
    assert {sender for sender, _, _ in offered} == set(Peer)
    for sender, message, clause in offered:
        assert [one.clause for one in observer.judge(sender, message).violations] == [clause]
