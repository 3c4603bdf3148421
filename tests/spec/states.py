"""Writes spec/states.md and spec/schemas/types.schema.json from the tables of the code.

``python -m tests.spec.states`` prints them, ``python -m tests.spec.states --write`` writes the
files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs

from listenproto import DEPLOYED, DOCUMENTED, Close, Mode, Peer, Profile
from listenproto._messages import ROWS
from listenproto._rules import (
    BREACHES,
    CROSSINGS,
    ENDS,
    HARMLESS,
    MODES,
    REFUSALS,
    TRANSITIONS,
    PeerState,
)
from tests.spec import SPEC, requirements

HEAD: Final = """\
# States

Written from the tables of `listenproto/_rules.py` and `listenproto/_profile.py`, by
`python -m tests.spec.states --write`; do not edit.

Each peer has a lifecycle of its own. It is moved by what the peer sends, and by some of what it
reads: the metadata opens the app, a disconnect has the platform leave, a close leaves the other
peer nothing but the answer. Whoever watches from one end sees the other peer move when that peer's
message arrives: a disconnect has no effect on the platform before the platform has read it.
"""

NAMES: Final = {"Metadata": "metadata", "Audio": "audio", "MarkEvent": "mark event"}


def name(kind: type[Any]) -> str:
    """A message's name, as listen.md has it."""
    camel = kind.__name__
    return NAMES.get(camel, camel[0].lower() + camel[1:]).removesuffix("Message")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    head = [*head]
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def diagram(peer: Peer) -> Iterator[str]:
    """The lifecycle of a peer, in Mermaid; messages that do not move it are left out."""
    edges: dict[tuple[PeerState, PeerState], list[str]] = {}
    for before, row in TRANSITIONS[peer].items():
        for kind, after in row.items():
            if after is not before:
                edges.setdefault((before, after), []).append(f"sends {name(kind)}")
    for kind, (mover, before, after) in CROSSINGS.items():
        if mover is peer and kind not in TRANSITIONS[peer][before]:
            edges.setdefault((before, after), []).append(f"reads {name(kind)}")
    for before in TRANSITIONS[peer]:
        if before not in (PeerState.CLOSING, PeerState.CLOSED):
            edges.setdefault((before, PeerState.CLOSING), []).append(f"reads {name(Close)}")
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield "    [*] --> start"
    for (before, after), moves in edges.items():
        yield f"    {before.value} --> {after.value}: {', '.join(moves)}"
    yield "    closed --> [*]"
    yield "```"
    yield ""


def lifecycle(peer: Peer) -> Iterator[str]:
    """What a peer may send in which state: the state behind it, or what it breaks."""
    states = [*TRANSITIONS[peer]]
    kinds = dict.fromkeys(kind for row in TRANSITIONS[peer].values() for kind in row)

    def cell(kind: type[Any], state: PeerState) -> str:
        after = TRANSITIONS[peer][state].get(kind)
        return BREACHES[peer, state][0] if after is None else f"*{after.value}*"

    head = ["sends", *(f"in *{state.value}*" for state in states)]
    rows = ([name(kind), *(cell(kind, state) for state in states)] for kind in kinds)
    return table(head, rows)


def modes() -> Iterator[str]:
    """In which mode of the way back the app may send what."""
    rows = (
        [name(kind), *("yes" if mode in allowed else clause for mode in Mode)]
        for kind, (allowed, clause) in MODES.items()
    )
    return table(["the app sends", *(f"in {mode.value} mode" for mode in Mode)], rows)


def clauses(named: Iterable[str]) -> Iterator[str]:
    """Requirements in the order of the spec, each with its sentence."""
    named = set(named)
    for requirement in requirements().values():
        if requirement.name in named:
            yield f"- {requirement.name}: {requirement.text}"
    yield ""


def profiles() -> Iterator[str]:
    """Each field of the profiles, with the value in either."""

    def shown(profile: Profile, field: str) -> str:
        value = getattr(profile, field)
        return "—" if value is None else str(value).lower()

    fields = [field.name for field in attrs.fields(Profile) if field.name != "name"]
    rows = ([f"`{f}`", shown(DOCUMENTED, f), shown(DEPLOYED, f)] for f in fields)
    return table(["field", "documented", "deployed"], rows)


def document() -> str:
    """The whole of states.md."""
    lines = [*HEAD.splitlines(), ""]
    for peer in Peer:
        lines += [f"## The {peer.value}", "", *diagram(peer)]
        lines += ["What it may send: the state behind it, or the requirement that it breaks.", ""]
        lines += lifecycle(peer)
    lines += ["## The mode of the way back", "", *modes()]
    lines += ["A binary message of no bytes is taken for nothing in every mode (LP-AUD-9).", ""]
    lines += ["## What a receiver acts on all the same", ""]
    lines += [
        "A message that breaks one of these is reported and acted on:",
        "",
    ]
    lines += clauses(HARMLESS)
    lines += [
        "These are reported of the app's close or of a lost connection, which are never dropped:",
        "",
    ]
    lines += clauses(ENDS)
    lines += [
        "A message that breaks any other is reported and dropped. A first message that is dropped",
        "ends the call.",
        "",
    ]
    lines += [
        "Whether the platform refused what breaks these only the platform's end can tell:",
        "",
    ]
    lines += clauses(REFUSALS)
    lines += ["## The two profiles", "", *profiles()]
    return "\n".join(lines)


def types() -> str:
    """The schema of the types of messages."""
    names = dict.fromkeys(row.name for row in ROWS if row.name is not None and row.key == "type")
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:listenproto:schema:types",
        "title": "types",
        "description": "The type of each message that has one.",
        "enum": [*names],
    }
    return json.dumps(schema, indent=2) + "\n"


WRITERS: Final = {SPEC / "states.md": document, SPEC / "schemas" / "types.schema.json": types}
"""How each file is written."""


if __name__ == "__main__":
    for path, write in WRITERS.items():
        if sys.argv[1:] == ["--write"]:
            path.write_text(write())
        else:
            print(write(), end="")
