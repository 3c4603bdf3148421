"""The documents of the spec: one thing per requirement, nothing outdated, no broken links."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from listenproto import BidirectionalAudio, ListenVerb, MixType, Profile
from listenproto._rules import HARMLESS
from tests.spec import (
    CLAUSE,
    KEYWORD,
    ROOT,
    SPEC,
    Requirement,
    held_by_tests,
    requirements,
    states,
    vectors,
)

SUBJECT = re.compile(r"(An app|A platform|A sender|A receiver) ")
DOCUMENTS = [*SPEC.rglob("*.md"), ROOT / "README.md"]


@pytest.mark.parametrize("requirement", requirements().values(), ids=lambda r: r.name)
def test_a_requirement_says_one_thing_about_one_peer(requirement: Requirement) -> None:
    if requirement.text.startswith("Withdrawn"):
        return
    assert SUBJECT.match(requirement.text)
    assert len(KEYWORD.findall(requirement.text)) == 1
    first = requirement.text.split(". ")[0]
    assert KEYWORD.search(first), "what a peer must do stands in the first sentence"


def test_requirements_are_numbered_in_order() -> None:
    numbers: dict[str, list[int]] = {}
    for name in requirements():
        _, group, number = name.split("-")
        numbers.setdefault(group, []).append(int(number))
    for group, found in numbers.items():
        assert found == [*range(1, len(found) + 1)], group


def test_what_a_receiver_acts_on_all_the_same_is_what_the_code_does() -> None:
    acted_on, _, _ = requirements()["LP-ODD-4"].text.partition("and drops it")
    listed = {*CLAUSE.findall(acted_on.partition("where that breaks")[2])}
    assert listed == HARMLESS


def test_the_options_of_the_verb_are_those_of_the_code() -> None:
    text = (SPEC / "listen.md").read_text()
    table = text[text.index("## The verb") : text.index("- **LP-VERB-1**")]
    told = {
        name.replace("….", "bidirectionalAudio."): default
        for name, default in re.findall(r"^\| `(\S+)` \| [^|]* \| ([^|]*) \|", table, re.MULTILINE)
    }
    has = {}
    for kind, prefix in ((ListenVerb, ""), (BidirectionalAudio, "bidirectionalAudio.")):
        for field in attrs.fields(kind):
            head, *rest = field.name.split("_")
            has[prefix + head + "".join(map(str.title, rest))] = field.default
    assert told.keys() == has.keys()
    for name, default in has.items():
        if default is attrs.NOTHING:
            assert told[name] == "required"
        elif default in (None, "") or name == "bidirectionalAudio":
            assert told[name] in ("none", "see LP-VERB-3", "`{}`"), name
        else:
            plain = default.value if isinstance(default, MixType) else default
            written = json.dumps(dict(plain) if isinstance(plain, Mapping) else plain)
            assert told[name].strip("`") == written.strip('"'), name


@pytest.mark.parametrize("path", states.WRITERS, ids=lambda path: path.name)
def test_what_is_written_from_the_tables_is_up_to_date(path: Path) -> None:
    assert path.read_text() == states.WRITERS[path](), "run python -m tests.spec.states --write"


@pytest.mark.parametrize("place", held_by_tests().values())
def test_a_test_that_holds_a_requirement_is_there_and_cites_it(place: str) -> None:
    path, _, name = place.partition("::")
    source = (ROOT / path).read_text()
    found = re.search(
        rf"def {name.split('::')[-1]}\b.*?(?=\n(?:def|async|class|@)|\Z)", source, re.DOTALL
    )
    assert found, place
    cited = [clause for clause, other in held_by_tests().items() if other == place]
    assert all(clause in found[0] for clause in cited)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        path, _, anchor = target.partition("#")
        file = (document.parent / path) if path else document
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings]
            assert anchor in slugs, target


@pytest.mark.no_cover
def test_vectors_fit_their_schema() -> None:
    schemas = [json.loads(path.read_text()) for path in (SPEC / "schemas").glob("*.schema.json")]
    registry: Registry = Registry().with_resources(
        (schema["$id"], Resource.from_contents(schema)) for schema in schemas
    )
    (schema,) = [s for s in schemas if s["$id"] == "urn:listenproto:schema:vectors"]
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema, registry=registry)
    files = [*(SPEC / "vectors").glob("*.json")]
    assert files
    for path in files:
        errors = [*validator.iter_errors(json.loads(path.read_text()))]
        assert not errors, f"{path.name}: {errors[0].json_path}: {errors[0].message:.300}"


STATUSES = ("played", "survived", "known")


def deployed_rows() -> list[tuple[str, str, set[str]]]:
    """Of each row of the register: its decision, its status, and what holds it."""
    rows = []
    for line in (SPEC / "deployed.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and re.fullmatch(r"D\d+", cells[1]):
            rows.append((cells[1], cells[2], {*re.findall(r"`([^`]+)`", cells[3])}))
    return rows


def test_each_row_about_deployed_platforms_is_held_by_what_there_is() -> None:
    rows, decisions = deployed_rows(), (SPEC / "decisions.md").read_text()
    fields = {field.name for field in attrs.fields(Profile)} - {"name"}
    named = {vector["name"] for vector in vectors()}
    for decision, status, held_by in rows:
        assert f"| {decision} |" in decisions
        assert status in STATUSES
        assert held_by or status == "known"
        assert status != "played" or held_by & (fields | named)
        for place in held_by - fields - named:
            path, _, name = place.partition("::")
            assert f"def {name.split('::')[-1]}(" in (ROOT / path).read_text(), place
    assert fields <= {name for _, _, held_by in rows for name in held_by}


def test_each_requirement_has_a_decision_behind_it() -> None:
    register = (SPEC / "decisions.md").read_text()
    covered = {*CLAUSE.findall(register)}
    for group, first, last in re.findall(r"(LP-[A-Z]+)-(\d+) to \1-(\d+)", register):
        covered |= {f"{group}-{number}" for number in range(int(first), int(last) + 1)}
    assert covered == {*requirements()}
