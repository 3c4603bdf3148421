"""Checks the spec against the code: requirements, vectors, and what is generated from tables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import attrs

ROOT: Final = Path(__file__).parent.parent.parent
SPEC: Final = ROOT / "spec"

CLAUSE: Final = re.compile(r"LP-[A-Z]+-[0-9]+")
KEYWORD: Final = re.compile(r"\b(?:MUST NOT|MUST|SHOULD NOT|SHOULD|MAY)\b")

Vector = dict[str, Any]


@attrs.frozen
class Requirement:
    """One bullet of listen.md: its name, and its sentence without what deployed platforms do."""

    name: str
    text: str

    @property
    def peer(self) -> str:
        """The peer that it is about: platform, app, sender or receiver."""
        return self.text.split()[1]


@cache
def requirements() -> dict[str, Requirement]:
    """Each requirement of the spec, by its name, in the order of the spec."""
    text = (SPEC / "listen.md").read_text()
    found = re.findall(r"^- \*\*(LP-\S+)\*\* (.*(?:\n  .*)*)", text, re.MULTILINE)
    return {name: Requirement(name, " ".join(body.split())) for name, body in found}


def held_by_tests() -> dict[str, str]:
    """The test that holds a requirement which no vector shows, as listen.md has it."""
    text = (SPEC / "listen.md").read_text()
    table = text[text.index("## Proof") :]
    return dict(re.findall(r"^\| (LP-\S+) \| `(.*)` \|$", table, re.MULTILINE))


def vectors() -> Iterator[Vector]:
    """Each vector, from all files."""
    for path in sorted((SPEC / "vectors").glob("*.json")):
        yield from json.loads(path.read_text())["vectors"]
