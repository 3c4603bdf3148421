"""The API reference: every public name is in it with its docstring, and no link is broken."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from os.path import normpath
from pathlib import Path

import pytest

from tests.reference.pages import Reference, page_file, public_modules


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

from listenproto.codec import decode
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


ROOT = Path(__file__).parents[2]


def run(*words: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """The command, with code that runs first."""
    code += f"; import runpy, sys; sys.argv[1:] = {list(words)!r}"
    code += "; runpy.run_module('tests.reference', run_name='__main__', alter_sys=False)"
    python = [sys.executable, "-c", code.removeprefix("; ")]
    # Counting its branches takes long, and it has none of the package's own.
    uncounted = {key: value for key, value in os.environ.items() if "COVERAGE" not in key}
    return subprocess.run(python, cwd=ROOT, env=uncounted, capture_output=True, text=True)


def test_help_and_misuse_of_the_command_write_nothing(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    file.write_text("mine")
    for words, status, says in (
        (["--help"], 0, "usage: python -m tests.reference [-h] FOLDER"),
        (["--loud"], 2, "the following arguments are required: FOLDER"),
        ([], 2, "the following arguments are required: FOLDER"),
        (["/dev/null/a"], 2, "error: cannot make the folder /dev/null/a: Not a directory"),
        ([str(file)], 2, f"error: {file} is a file; name a folder"),
    ):
        done = run(*words)
        assert done.returncode == status
        assert says in done.stdout + done.stderr
    assert file.read_text() == "mine"
    assert not (ROOT / "--help").exists()


@pytest.mark.no_cover
def test_the_command_writes_the_pages(tmp_path: Path) -> None:
    done = run(str(tmp_path / "new"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"wrote {tmp_path / 'new' / 'index.html'}\n"
    assert (tmp_path / "new" / "listenproto.html").is_file()


def test_without_its_extra_the_command_names_it(tmp_path: Path) -> None:
    done = run(str(tmp_path / "new"), code="import sys; sys.modules['pdoc'] = None")
    assert done.returncode == 1
    assert done.stderr == "the reference needs the extra docs: pip install '.[docs]'\n"
    assert not (tmp_path / "new").exists()
