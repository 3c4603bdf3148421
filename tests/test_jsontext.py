"""JSON texts: what is taken for JSON, where it stands, and that nothing hostile gets through."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from listenproto._jsontext import (
    MAX_DEPTH,
    MAX_NUMBER,
    MAX_VALUES,
    same,
    values,
    whole_number,
)
from listenproto.testing import json_objects, json_values, nearly_legal_texts

SPACE = st.text(" \t\r\n", max_size=3)


def read(text: str) -> tuple[list[Any], bool]:
    """The values of a text up to where it is no JSON, and whether there is such a place."""
    found = []
    try:
        for value, _, _ in values(text):
            found.append(value)
    except ValueError:
        return found, True
    return found, False


@given(value=json_values(), ascii_only=st.booleans(), indent=st.sampled_from([None, 0, 2]))
def test_a_value_is_read_as_it_was_written(
    value: Any, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert list(values(text)) == [(value, 0, len(text))]


@given(st.lists(st.tuples(json_objects(), SPACE), min_size=1, max_size=4), SPACE)
def test_values_in_a_row_come_with_their_places(
    objects: list[tuple[dict[str, Any], str]], front: str
) -> None:
    pieces = [(json.dumps(obj), space) for obj, space in objects]
    text = front + "".join(piece + space for piece, space in pieces)
    found = list(values(text))
    assert [value for value, _, _ in found] == [obj for obj, _ in objects]
    assert [text[start:end] for _, start, end in found] == [piece for piece, _ in pieces]
    starts = [start for _, start, _ in found]
    assert starts == sorted(starts)
    assert starts[0] == len(front)


def test_control_characters_in_strings_are_taken_only_where_asked() -> None:
    text = '{"a":"b\nc"}'
    assert read(text) == ([], True)
    assert [value for value, _, _ in values(text, control_characters=True)] == [{"a": "b\nc"}]


def test_scalars_in_a_row_are_told_apart_by_space_alone() -> None:
    assert list(values(' 1\n23 "a"null\t')) == [(1, 1, 2), (23, 3, 5), ("a", 6, 9), (None, 9, 13)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \t\r\n",
        "\ufeff{}",
        "\u00a0{}",
        "\x0b1",
        "{",
        "}",
        "[1,]",
        '{"a":1,}',
        "{'a':1}",
        '{a":1}',
        '{"a" 1}',
        '{"a":}',
        '"a',
        '"\x00"',
        '"\n"',
        '"\\x"',
        '"\\u12"',
        "[01]",
        "+1",
        ".5",
        "1.",
        "0x10",
        "\u0661",
        "nul",
        "True",
        "undefined",
        "/* */ {}",
        "NaN",
        "Infinity",
        "-Infinity",
        '{"a":[NaN]}',
        "1e999",
        "-1e999",
        '{"a":1e400}',
    ],
)
def test_what_is_no_json(text: str) -> None:
    _, broken = read(text)
    assert broken


def test_a_lone_surrogate_is_no_text() -> None:
    for text in ['"\\ud800"', '"\\uDFFF"', '"\ud800"', '"\udce2"', '{"\\udC00":1}', '["a\\uD8ff"]']:
        assert read(text) == ([], True)
    for text in ['"\\ud83d\\ude00"', '"\U0001f600"', '"\\\\ud800"', '"\\ud7ff\\ue000"']:
        assert read(text) == ([json.loads(text)], False)


def test_a_number_has_a_limited_length() -> None:
    longest = "9" * MAX_NUMBER
    assert read(longest) == ([int(longest)], False)
    assert read("-" + longest[1:]) == ([-int(longest[1:])], False)
    assert read("0." + longest[2:]) == ([float("0." + longest[2:])], False)
    for text in (longest + "9", "-" + longest, "0." + longest[1:], "9" * 5000, "1." + "0" * 5000):
        assert read(text) == ([], True)
        assert read(f'{{"a":{text}}}') == ([], True)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_has_a_limited_depth(opening: str, closing: str) -> None:
    deepest = opening * MAX_DEPTH + "1" + closing * MAX_DEPTH
    assert read(deepest) == ([json.loads(deepest)], False)
    assert read(opening + deepest + closing) == ([], True)
    assert read(opening * 100_000 + "1" + closing * 100_000) == ([], True)
    assert read(opening * 100_000) == ([], True)


def test_one_after_the_other_is_not_nested() -> None:
    assert read("[[]" + ",[]" * MAX_DEPTH + "]") == ([[[]] * (MAX_DEPTH + 1)], False)


def test_brackets_in_strings_are_text() -> None:
    for text in ["[" * 1000, "]" * 1000 + "[" * 1000, '\\"[{,' * 1000, "\\" * 999 + "[" * 100]:
        quoted = json.dumps([text, text])
        assert read(quoted) == ([[text, text]], False)


def test_nesting_does_not_hide_behind_strings_and_closed_brackets() -> None:
    deep = "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)
    for text in (f'["\\\\",{deep}]', f'["\\"",{deep}]', f"[[],[],[],{deep}]", f'{{"]]]":{deep}}}'):
        json.loads(text)  # but for the depth it is JSON
        assert read(text) == ([], True)


@pytest.mark.parametrize(
    ("start", "held", "more", "each", "end"),
    [
        ("[1", 2, ",1", 1, "]"),
        ("[[]", 2, ",[ ]", 1, "]"),
        ("[{}", 2, ",{\n}", 1, "]"),
        ('[{"a":0}', 3, ',{"a":0}', 2, "]"),
        ('{"":0', 2, ',"":0', 1, "}"),
        ('["[","]","\\"["', 4, ',"{"', 1, "]"),
    ],
)
def test_there_is_a_limited_number_of_values(
    start: str, held: int, more: str, each: int, end: str
) -> None:
    fullest = start + more * ((MAX_VALUES - held) // each) + end
    assert read(fullest) == ([json.loads(fullest)], False)
    assert read(fullest[:-1] + more + end) == ([], True)


@pytest.mark.parametrize("piece", ["{}", "[]", "1 ", '"a"', "null "])
def test_the_limit_of_values_is_that_of_the_whole_text(piece: str) -> None:
    found, broken = read(piece * (MAX_VALUES * 2))
    assert broken
    assert len(found) <= MAX_VALUES


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("[" * 65, "nested deeper than 64", id="nesting"),
        pytest.param("[" + "1," * 20_000, "more than 10000 values", id="values in one"),
        pytest.param("{}" * 20_000, "more than 10000 values", id="values in a row"),
        pytest.param("[" + "\\[" * 65, "Expecting value", id="no nesting behind a backslash"),
        pytest.param("9" * 65, "a number has 65 characters, at most 64", id="long number"),
        pytest.param("1e999", "the number 1e999 is too large", id="large number"),
        pytest.param("NaN", "NaN is not JSON", id="NaN"),
        pytest.param('"\\ud800"', "a lone surrogate is not valid text", id="lone surrogate"),
    ],
)
def test_a_fault_says_what_it_is(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        list(values(text))


@pytest.mark.parametrize(
    "junk",
    [
        pytest.param("x", id="word"),
        pytest.param("NaN", id="NaN"),
        pytest.param("{", id="cut"),
        pytest.param('"\\ud800"', id="lone surrogate"),
        pytest.param("9" * 65, id="long number"),
        pytest.param("[" * 65, id="nesting"),
        pytest.param("[" * 100_000, id="absurd nesting"),
        pytest.param("[" + "1," * 20_000, id="many values"),
    ],
)
def test_what_stands_in_front_of_the_fault_comes_first(junk: str) -> None:
    assert read('{"a":1} ' + junk)[0][:1] == [{"a": 1}]


@given(st.text() | nearly_legal_texts())
@example("[" * 100_000 + "\\" * 100_000)
@example('"' * 100_001)
@example('{"a":' * 100_000)
@example("-" * 100_000)
@example("1" * 100_000 + "e" + "1" * 100_000)
@example(" " * 100_000)
@example("\\u" * 100_000)
def test_nothing_raises_but_value_error(text: str) -> None:
    found, broken = read(text)
    assert broken or found


@given(json_values(), json_values())
def test_being_the_same_json_goes_both_ways_and_is_equality(one: Any, other: Any) -> None:
    assert same(one, json.loads(json.dumps(one)))
    assert same(one, other) == same(other, one)
    if same(one, other):
        assert one == other


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        ([1, [True]], [1.0, [True]]),
        ({"a": 1, "b": {"c": None}}, {"b": {"c": None}, "a": 1.0}),
    ],
)
def test_the_same_json(one: Any, other: Any) -> None:
    assert same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1, "1"),
        (1, True),
        (0, False),
        (None, False),
        ({}, []),
        ({}, None),
        ([], ""),
        ([1], [2]),
        ([1], [True]),
        ([1], [1, 2]),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": True}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": [{"b": 0}]}, {"a": [{"b": False}]}),
    ],
)
def test_not_the_same_json(one: Any, other: Any) -> None:
    assert not same(one, other)
    assert not same(other, one)


def test_a_number_in_quotes_has_the_bound_of_one_without() -> None:
    for number in (0, 7, 10**15 - 1):
        assert whole_number(number) == whole_number(str(number)) == number
    for number in (10**15, 10**16, -(10**15), 10**5000):
        assert whole_number(number) is None
    for text in (str(10**15), "9" * 5000, "0" * 16, "-1", "+1", " 1", "\u0661", ""):
        assert whole_number(text) is None
    assert whole_number(-7) == -7
    assert whole_number(7.0) == 7
    for other in (True, None, 7.5, 1e15, [7]):
        assert whole_number(other) is None
