"""Each type that a signature of the public interface names can be imported with it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.definitions import CORE, Defined, definition, exported


def is_public(name: str) -> bool:
    return not name.startswith("_") or name.startswith("__")


def of_function(function: ast.FunctionDef) -> Iterator[ast.expr]:
    """The annotations of a function."""
    one = function.args
    for argument in (*one.posonlyargs, *one.args, *one.kwonlyargs, one.vararg, one.kwarg):
        if argument is not None and argument.annotation is not None:
            yield argument.annotation
    if function.returns is not None:
        yield function.returns


def of_attributes(module: str, function: ast.FunctionDef) -> Iterator[tuple[str, ast.expr]]:
    """The types of the public attributes that a constructor sets."""
    for node in ast.walk(function):
        if isinstance(node, ast.AnnAssign):
            target, kind = node.target, node.annotation
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            target, kind = node.targets[0], node.value.func
            made = definition(module, kind.id) if isinstance(kind, ast.Name) else None
            if made is None or not isinstance(made.node, ast.ClassDef):
                continue
        else:
            continue
        if isinstance(target, ast.Attribute) and is_public(target.attr):
            yield target.attr, kind


def of_class(one: Defined, seen: set[str]) -> Iterator[tuple[str, str, ast.expr]]:
    """The types of a class's public members, with each member's name and module.

    Members of its bases count, unless they are overridden.
    """
    assert isinstance(one.node, ast.ClassDef)
    own: set[str] = set()
    for node in one.node.body:
        if isinstance(node, ast.FunctionDef) and is_public(node.name):
            if node.name == "__init__":  # one that overrides another calls it
                for name, kind in of_attributes(one.module, node):
                    yield name, one.module, kind
            if node.name not in seen:
                own.add(node.name)
                yield from ((node.name, one.module, kind) for kind in of_function(node))
        elif isinstance(node, ast.AnnAssign):
            name = ast.unparse(node.target)
            if is_public(name) and name not in seen:
                own.add(name)
                yield name, one.module, node.annotation
    for base in one.node.bases:
        plain = base.value if isinstance(base, ast.Subscript) else base
        inherited = definition(one.module, ast.unparse(plain))
        if inherited is not None:
            yield from of_class(inherited, seen | own)


def types_of(one: Defined) -> Iterator[tuple[str, str, ast.expr]]:
    """The types in the signature of a class, a function or an alias."""
    if isinstance(one.node, ast.ClassDef):
        yield from of_class(one, set())
    elif isinstance(one.node, ast.FunctionDef):
        yield from (("", one.module, kind) for kind in of_function(one.node))
    elif one.node.value is not None:  # an alias of types, or a constant
        yield "", one.module, one.node.value


def names_in(kind: ast.expr) -> Iterator[str]:
    """The names in a type; those in a type that is written as a text, too."""
    for node in ast.walk(kind):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            with suppress(SyntaxError):  # a text in a Literal may be anything
                yield from names_in(ast.parse(node.value, mode="eval").body)


def is_type(one: Defined) -> bool:
    """Whether this is a class or an alias of types, and not a function, constant or variable."""
    if isinstance(one.node, ast.AnnAssign):
        return ast.unparse(one.node.annotation) == "TypeAlias"
    return isinstance(one.node, ast.ClassDef)


@pytest.mark.parametrize("package", [CORE, f"{CORE}.recording", f"{CORE}.testing"])
def test_the_types_in_public_signatures_are_exported(package: str) -> None:
    public = exported(CORE) | exported(package)
    hidden = set()
    looked_at = 0
    for name in exported(package):
        one = definition(package, name)
        assert one is not None
        for member, module, kind in types_of(one):
            for used in names_in(kind):
                found = definition(module, used)
                if found is not None and is_type(found):
                    looked_at += 1
                    if found.name not in public:
                        hidden.add(f"{name}.{member}: {found.module}.{found.name}")
    assert hidden == set()
    assert looked_at > 20
