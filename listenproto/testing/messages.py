"""Hypothesis strategies for messages: legal ones, and texts that are almost legal."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

import listenproto as lp
from listenproto._choices import member
from listenproto._l16 import SAMPLE_BYTES
from listenproto._messages import JSON, ROWS, ClipId, Row
from listenproto._terms import DIGITS
from listenproto._wav import wav_header
from listenproto.codec import encode

__all__ = [
    "app_messages",
    "audio",
    "chunkings",
    "clip_ids",
    "dtmf",
    "json_objects",
    "json_values",
    "mark_events",
    "mark_names",
    "marks",
    "messages_of",
    "metadata",
    "nearly_legal_texts",
    "pcm",
    "platform_messages",
    "play_audio",
    "play_done",
    "unknown_messages",
    "unusable_metadata",
]

_NUMBERS: Final = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
_TEXT: Final = st.text(st.characters(codec="utf-8"), max_size=20)
_RATES: Final = st.sampled_from(lp.PLAY_RATES)
_JSON: Final = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXT,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(_TEXT, v, max_size=3),
    max_leaves=6,
)
_TELLING: Final = frozenset({"type", "event", "callSid", "mixType", "sampleRate", "id"})
_OBJECTS: Final = st.dictionaries(_TEXT.filter(lambda k: k not in _TELLING), _JSON, max_size=4)


def json_values() -> SearchStrategy[JSON]:
    """JSON that the protocol accepts: finite numbers, text that UTF-8 can carry, little nesting."""
    return _JSON


def json_objects() -> SearchStrategy[dict[str, JSON]]:
    """JSON objects of such values, without keys that mean something to the protocol."""
    return _OBJECTS


def pcm(*, channels: int = 1, max_frames: int = 100) -> SearchStrategy[bytes]:
    """L16 in whole sample frames: a sample of each channel, interleaved; possibly empty."""
    unit = SAMPLE_BYTES * channels
    return st.binary(max_size=unit * max_frames).map(lambda b: b[: len(b) // unit * unit])


def clip_ids() -> SearchStrategy[ClipId]:
    """Ids of clips as platforms echo them: strings and numbers."""
    return _TEXT | _NUMBERS


def mark_names() -> SearchStrategy[str]:
    """Names of marks that deployed platforms echo unharmed (LP-MARK-6)."""
    safe = st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters='"\\')
    return st.text(safe, min_size=1, max_size=20)


def chunkings(data: bytes) -> SearchStrategy[list[bytes]]:
    """Ways to cut ``data`` into non-empty chunks, all at once and byte by byte included."""
    places = range(1, len(data))
    somewhere = st.sets(st.sampled_from(places)) if places else st.just(set[int]())
    return st.one_of(st.just(set[int]()), st.just(set(places)), somewhere).map(
        lambda cuts: [data[i:j] for i, j in pairwise(sorted({0, *cuts, len(data)}))]
    )


def metadata() -> SearchStrategy[lp.Metadata]:
    """The platform's first message, with some of the usual attributes and any others."""
    usual = st.fixed_dictionaries(
        {}, optional={"callSid": _TEXT, "sipStatus": _NUMBERS, "customerData": json_objects()}
    )
    attributes = st.builds(lambda some, others: others | some, usual, json_objects())
    return st.builds(lp.Metadata, attributes, _RATES, st.sampled_from(lp.MixType))


def audio(*, channels: int = 1) -> SearchStrategy[lp.Audio]:
    """An audio message of whole sample frames; it may be empty, which is legal."""
    return st.builds(lp.Audio, pcm(channels=channels))


def dtmf() -> SearchStrategy[lp.Dtmf]:
    """A key, with or without its duration."""
    return st.builds(lp.Dtmf, st.sampled_from(DIGITS), st.none() | st.integers(0, 80_000))


def play_done() -> SearchStrategy[lp.PlayDone]:
    """A clip's end: bare as documented, or with id and playback figures as deployed."""
    return st.just(lp.PlayDone()) | st.builds(lp.PlayDone, clip_ids(), json_objects())


def mark_events() -> SearchStrategy[lp.MarkEvent]:
    """A mark event with a safe name: reached or cleared."""
    return st.builds(lp.MarkEvent, mark_names(), st.sampled_from(["playout", "cleared"]))


def play_audio() -> SearchStrategy[lp.PlayAudio]:
    """A clip: raw, or a WAV file of one or two channels; whole samples, possibly none."""
    raw = st.tuples(pcm(), st.just("raw"), _RATES)
    wav = st.tuples(_wav_files(1) | _wav_files(2), st.just("wav"), st.none())
    options = st.tuples(st.none() | clip_ids(), st.none() | st.booleans())
    return st.builds(lambda body, more: lp.PlayAudio(*body, *more), raw | wav, options)


def _wav_files(channels: int) -> SearchStrategy[bytes]:
    return st.builds(
        lambda samples, rate: wav_header(len(samples), rate, channels) + samples,
        pcm(channels=channels),
        _RATES | st.sampled_from([11025, 22050, 44100]),
    )


def marks() -> SearchStrategy[lp.Mark]:
    """A mark with a safe name."""
    return st.builds(lp.Mark, mark_names())


def unknown_messages() -> SearchStrategy[lp.UnknownMessage]:
    """JSON objects that the protocol does not know, of either peer, with or without a type."""
    types = st.sampled_from(["transcription", "transfer", "json", "someday"])
    typed = st.builds(lambda kind, body: {"type": kind} | body, types, json_objects())
    return st.builds(lp.UnknownMessage, typed | json_objects())


_WITH_BODY: Final[dict[type, SearchStrategy[lp.Message]]] = {
    lp.Metadata: metadata(),
    lp.Audio: audio(),
    lp.Dtmf: dtmf(),
    lp.PlayDone: play_done(),
    lp.MarkEvent: mark_events(),
    lp.PlayAudio: play_audio(),
    lp.Mark: marks(),
    lp.UnknownMessage: unknown_messages(),
}


def messages_of(row: Row) -> SearchStrategy[lp.Message]:
    """Messages of one kind, as either peer may send them."""
    return st.just(row.kind()) if row.is_bare else _WITH_BODY[row.kind]


def platform_messages(*, channels: int = 1) -> SearchStrategy[lp.Message]:
    """What a platform may send after its :func:`metadata`, except for the close."""
    return st.one_of(
        [
            audio(channels=channels) if row.kind is lp.Audio else messages_of(row)
            for row in ROWS
            if lp.Peer.PLATFORM in row.senders and row.kind not in (lp.Metadata, lp.Close)
        ]
    )


def app_messages(mode: lp.Mode | str | None = None) -> SearchStrategy[lp.Message]:
    """What an app may send, except for the close; with ``mode``, only what is allowed in it."""
    mode = None if mode is None else member(lp.Mode, mode, "mode")
    return st.one_of(
        [
            messages_of(row)
            for row in ROWS
            if lp.Peer.APP in row.senders and row.kind is not lp.Close
            if mode is None or mode in row.modes
        ]
    )


def nearly_legal_texts() -> SearchStrategy[str]:
    """Texts that are almost messages: JSON with a wrong body, broken JSON; a few stay legal."""
    platform = st.one_of(metadata(), platform_messages()).map(lambda m: encode(m, lp.Peer.PLATFORM))
    payloads = platform | app_messages().map(lambda m: encode(m, lp.Peer.APP))
    texts = payloads.map(lambda payload: payload if isinstance(payload, str) else "{}")
    return _changed_bodies(texts) | _broken_texts(texts)


def unusable_metadata() -> SearchStrategy[str | bytes]:
    """First messages after which an app must close (LP-META-2, LP-META-3): binary, not JSON, not an
    object, or with members that it cannot use."""
    rates = [11025, 0, -8000, 8000.5, "8 kHz", "", True, None, [8000], {}]
    mixes = ["quad", "Mono", "", 1, True, None, ["mono"]]
    told = [*({"sampleRate": rate} for rate in rates), *({"mixType": mix} for mix in mixes)]
    objects = st.builds(lambda some, bad: json.dumps(some | bad), _OBJECTS, st.sampled_from(told))
    return st.one_of(
        st.binary(max_size=8),
        st.sampled_from(["", "{", "nope", "NaN", '{"a": NaN}', "[]", "3", '"{}"', "null"]),
        objects,
    )


@st.composite
def _changed_bodies(draw: st.DrawFn, texts: SearchStrategy[str]) -> str:
    message = json.loads(draw(texts))
    inner = message.get("data")
    body = inner if isinstance(inner, dict) and draw(st.booleans()) else message
    key = draw(st.sampled_from(sorted(body)) if body else _TEXT)
    body.pop(key, None)
    if draw(st.booleans()):
        body[key] = draw(_JSON)
    return json.dumps(message, ensure_ascii=False)


@st.composite
def _broken_texts(draw: st.DrawFn, texts: SearchStrategy[str]) -> str:
    text = draw(texts)
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, len(text)))
    junk = ["", "NaN", "1e999", "\\ud800", "\udce2", '"', "}", "[" * 70, "9" * 70, "\0", ",", text]
    return text[:start] + draw(st.sampled_from(junk)) + text[end:]
