"""Each vector holds for the observer, for our peers, and for the requirement that it names."""

from __future__ import annotations

import re

import pytest

from listenproto import Peer
from tests.spec import CLAUSE, ROOT, Vector, held_by_tests, requirements, vectors
from tests.spec.matrix import OBSERVED, matrix
from tests.spec.runner import judged, run

ALL = [*vectors()]
BREAKING = [v for v in ALL if v["breaks"] and v["kind"] in OBSERVED]
SUBJECTS = {"platform": Peer.PLATFORM, "app": Peer.APP}


def named(vector: Vector) -> str:
    name = vector["name"]
    assert isinstance(name, str)
    return name


@pytest.mark.parametrize("vector", ALL, ids=named)
def test_a_vector_goes_as_it_says(vector: Vector) -> None:
    assert run(vector) == []


def breaches(vector: Vector) -> list[tuple[Peer, str]]:
    """Who breaks what in a vector, as it says itself."""
    if vector["kind"] == "upgrade":
        about = requirements()
        return [(SUBJECTS[about[clause].peer], clause) for clause in vector["violates"]]
    return [
        (Peer(step["from"]), clause)
        for step in vector["steps"]
        for clause in step.get("violates", [])
    ]


@pytest.mark.parametrize("vector", BREAKING, ids=named)
def test_a_breaking_vector_breaks_its_requirement_and_no_other(vector: Vector) -> None:
    requirement = requirements()[vector["requirement"]]
    culprits = {peer for peer, clause in breaches(vector) if clause == requirement.name}
    assert len(culprits) == 1
    assert requirement.peer not in SUBJECTS or culprits == {SUBJECTS[requirement.peer]}
    assert {clause for peer, clause in breaches(vector) if peer in culprits} == {requirement.name}


@pytest.mark.parametrize("vector", BREAKING, ids=named)
def test_without_its_rule_the_observer_misses_the_breach(vector: Vector) -> None:
    assert judged(vector, without={vector["requirement"]})


def test_names_are_unique_and_requirements_exist() -> None:
    assert len({*map(named, ALL)}) == len(ALL) == 1631, "whoever adds or drops some says so here"
    about = {vector["requirement"] for vector in ALL}
    assert {name.removeprefix("RFC 6455 ") for name in about - requirements().keys()} == {
        *("4.1", "5.1", "5.2", "5.3", "5.4", "5.5", "5.5.1", "5.5.2", "5.5.3", "5.6"),
        *("7.1.5", "7.4", "7.4.1", "8.1"),
    }


def test_each_rule_that_the_code_has_is_broken_by_a_vector() -> None:
    """Whatever the observer can name, it is seen to name; the rest of the code only cites."""
    broken = {
        clause for vector in ALL if vector["kind"] in OBSERVED for _, clause in breaches(vector)
    }
    for module in ("codec", "_rules", "_observer", "_marks", "_handshake"):
        source = (ROOT / "listenproto" / f"{module}.py").read_text()
        rules = set(re.findall(rf'"({CLAUSE.pattern})"', source))
        assert rules - broken <= {*held_by_tests()}, module


def test_each_requirement_is_proven() -> None:
    rows = matrix(tested=True).values()  # by the tests above, vector by vector
    assert [row.requirement.name for row in rows if not row.proven] == []
