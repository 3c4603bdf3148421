"""The mutants of a module: mutmut's operators, and a few of our own, applied one at a time.

mutmut itself only mutates functions, and none with decorators; here tables and properties are
mutated as well. Texts of several words are for people, and are not mutated.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

import attrs
import libcst as cst
import libcst.matchers as m
from mutmut.mutation import mutators

_SENTENCE: Final = re.compile(r"\S \S|^\W (?!$)|^ .* $")
_UNTOUCHED: Final = m.Call(func=m.Name("len") | m.Name("isinstance") | m.Name("cast"))
_TYPES: Final = (
    m.AnnAssign(annotation=m.Annotation(m.Name("TypeAlias")))
    | m.Assign(value=m.Call(func=m.Name("TypeVar")))
    | m.Assign(targets=[m.AssignTarget(m.Name("__all__"))])
)
_STUB: Final = m.FunctionDef(body=m.SimpleStatementSuite(body=[m.Expr(m.Ellipsis())]))


@attrs.frozen
class Mutant:
    """One change of a module: where, and of which lines into which."""

    place: str
    before: str
    after: str

    @property
    def name(self) -> str:
        return f"{self.place}: {self.before} => {self.after}"


def _is_sentence(node: cst.CSTNode) -> bool:
    """Whether an expression is a text for people."""
    if isinstance(node, cst.ConcatenatedString):
        return _is_sentence(node.left) or _is_sentence(node.right)
    if isinstance(node, cst.FormattedString):
        parts = [p.value for p in node.parts if isinstance(p, cst.FormattedStringText)]
        return any(" " in part for part in parts)
    return isinstance(node, cst.SimpleString) and bool(_SENTENCE.search(node.raw_value))


def _drop_elements(node: Any) -> Iterator[cst.CSTNode]:
    for i in range(len(node.elements)):
        left = [*node.elements[:i], *node.elements[i + 1 :]]
        if left or not isinstance(node, cst.Set):
            yield node.with_changes(elements=left)


def _negate(node: Any) -> Iterator[cst.CSTNode]:
    if not m.matches(node.test, m.Comparison() | m.UnaryOperation(operator=m.Not())):
        test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), test))


def _forget(node: cst.SimpleStatementLine) -> Iterator[cst.CSTNode]:
    (statement, *more) = node.body
    call = m.Expr(m.Call() | m.Yield())
    if not more and m.matches(statement, call | m.Del()) and not _calls_super(statement):
        yield node.with_changes(body=[cst.Pass()])


def _calls_super(node: cst.CSTNode) -> bool:
    return bool(m.findall(node, m.Call(func=m.Name("super"))))


def _one_string(node: cst.BaseString) -> Iterable[cst.BaseString]:
    return islice(mutators.operator_string(node), 1)


_OPERATORS: Final[list[tuple[Any, Any]]] = [
    (cst.BaseString, _one_string),
    *((kind, op) for kind, op in mutators.mutation_operators if kind is not cst.BaseString),
    ((cst.Dict, cst.Set, cst.List), _drop_elements),
    ((cst.If, cst.While, cst.CompIf), _negate),
    (cst.SimpleStatementLine, _forget),
]
_IN_FUNCTIONS_ONLY: Final = (mutators.operator_assignment, mutators.operator_arg_removal)


class _Finder(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (cst.metadata.PositionProvider,)

    def __init__(self, module: str) -> None:
        super().__init__()
        self.found: list[tuple[str, cst.CSTNode, cst.CSTNode]] = []
        self._scope = [module]
        self._functions = 0

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self._scope.append(node.name.value)
            self._functions += isinstance(node, cst.FunctionDef)
        if isinstance(node, cst.Annotation | cst.Decorator | cst.ImportFrom | cst.Import):
            return False
        if m.matches(node, _UNTOUCHED | _TYPES | _STUB) or _is_sentence(node):
            return False
        for kind, operator in _OPERATORS:
            if not isinstance(node, kind):
                continue
            if operator in _IN_FUNCTIONS_ONLY and not self._functions:
                continue
            for new in operator(node):
                if not self._is_about_text(node, new):
                    self.found.append((".".join(self._scope), node, new))
        if not self._functions and isinstance(node, cst.Tuple):
            self.found += [(".".join(self._scope), node, new) for new in _drop_elements(node)]
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.FunctionDef | cst.ClassDef):
            self._scope.pop()
            self._functions -= isinstance(original_node, cst.FunctionDef)

    @staticmethod
    def _is_about_text(old: cst.CSTNode, new: cst.CSTNode) -> bool:
        """Whether all that has changed is a text for people: it became None, or it is gone."""
        if isinstance(old, cst.Assign | cst.AnnAssign):
            return old.value is not None and _is_sentence(old.value)
        if isinstance(old, cst.Call) and isinstance(new, cst.Call):
            kept = {id(arg) for arg in new.args}
            gone = [arg for arg in old.args if id(arg) not in kept]
            return bool(gone) and all(_is_sentence(arg.value) for arg in gone)
        return False


def _lines(code: str) -> list[str]:
    return [line.strip() for line in code.splitlines()]


def _difference(before: list[str], after: list[str]) -> tuple[str, str]:
    """The lines in which two sources differ, joined, without what they have in common."""
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    return (
        " ".join(before[start : len(before) - end]),
        " ".join(after[start : len(after) - end]),
    )


def mutants(module: str, source: str, percent: float = 100) -> Iterator[tuple[Mutant, str]]:
    """The mutants of a source, in its order, or some, always the same, with their whole source."""
    choose = random.Random(module)
    wrapper = cst.metadata.MetadataWrapper(cst.parse_module(source))
    finder = _Finder(module)
    wrapper.visit(finder)
    lines = _lines(source)
    seen = {source}
    times: Counter[tuple[str, str, str]] = Counter()
    for place, old, new in finder.found:
        what = place, wrapper.module.code_for_node(old), wrapper.module.code_for_node(new)
        times[what] += 1
        if choose.random() * 100 >= percent:
            continue
        code = wrapper.module.deep_replace(old, new).code  # type: ignore[arg-type]
        if code in seen:
            continue
        seen.add(code)
        try:
            compile(code, module, "exec")
        except SyntaxError:
            continue
        number = f"#{times[what]}" if times[what] > 1 else ""
        yield Mutant(place + number, *_difference(lines, _lines(code))), code
