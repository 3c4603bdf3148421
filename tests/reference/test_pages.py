"""The API reference: every public name is in it with its docstring, and no link is broken."""

from __future__ import annotations

import importlib
import re
from os.path import normpath
from pathlib import Path

import pytest

from tests.reference import Reference, page_file, public_modules


def anchors(page: str) -> list[str]:
    return re.findall(r'\bid="([^"]+)"', page)


@pytest.mark.no_cover
def test_every_public_name_is_explained_and_every_link_leads_somewhere() -> None:
    reference = Reference(public_modules())
    pages = reference.write()
    assert reference.problems == []
    assert pages.keys() == {*map(page_file, public_modules()), "index.html", "requirements.html"}
    for module in public_modules():
        page = pages[page_file(module)]
        exported = set(importlib.import_module(module).__all__)
        assert exported and exported <= {*anchors(page)}
        assert not re.search(r":[a-z]+:`", page), "roles are links"
        assert not re.search(r'<[^<>]*="[^"]*<', page), "no tag inside a tag"
    places = {(file, place) for file, page in pages.items() for place in ["", *anchors(page)]}
    for file, page in pages.items():
        assert len(anchors(page)) == len({*anchors(page)}), file
        for target in re.findall(r'<a [^>]*href="([^"]*)"', page):
            other, _, place = target.partition("#")
            there = normpath(Path(file).parent / other) if other else file
            assert (there, place) in places, f"{file}: {target}"


FAULTY = '''
"""A module; see :func:`nothing`."""

from listenproto._codec import decode
from listenproto._link import Link
from listenproto._rules import TRANSITIONS

__all__ = ["Thing", "made", "silent"]

made = 1
"""What :attr:`Thing.size` is."""


class Thing:
    """Has ``size``; :meth:`grow` and :class:`made` and :mod:`listenproto._rules`."""

    size: int
    weight: int
    tags = ()
    """Any."""

    def grow(self, other: "Hidden") -> None:
        """As :meth:`Thing.grow`."""


class Hidden:
    """Not exported."""


def silent() -> None:
    pass
'''


@pytest.mark.no_cover
def test_what_is_wrong_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "listenproto_faulty.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(tmp_path)
    faulty = Reference(("listenproto_faulty",))
    faulty.write()
    assert faulty.problems == [
        "listenproto_faulty.Thing.tags has no type",
        "listenproto_faulty.Thing.weight has no docstring",
        "listenproto_faulty.Thing: :class:`made` leads to a variable",
        "listenproto_faulty.Thing: :mod:`listenproto._rules` leads to nothing public",
        "listenproto_faulty.silent has no docstring",
        "listenproto_faulty: :func:`nothing` leads to nothing public",
        "the page listenproto_faulty.html names listenproto._rules, which is not public",
        "the page listenproto_faulty.html names listenproto_faulty.Hidden, which is not public",
    ]
