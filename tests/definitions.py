"""Where the sources define what a package exports."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

CORE = "listenproto"

Definition: TypeAlias = ast.ClassDef | ast.FunctionDef | ast.AnnAssign | ast.Assign


class Defined(NamedTuple):
    """Where a name is defined, and how."""

    module: str
    name: str
    node: Definition

    @property
    def docstring(self) -> str:
        """The text below a constant or an alias of types; empty if there is none."""
        body = parsed(self.module).body
        below = body[body.index(self.node) + 1 :][:1]
        match below:
            case [ast.Expr(ast.Constant(str(text)))]:
                return text
        return ""


@cache
def parsed(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    return ast.parse(Path(spec.origin).read_text("utf-8"))


def statements(module: str) -> Iterator[ast.stmt]:
    """The statements of a module, also those that it tries."""
    for node in parsed(module).body:
        if isinstance(node, ast.Try):
            yield from node.body
        else:
            yield node


@cache
def definition(module: str, name: str) -> Defined | None:
    """What a module means by a name; None if this is not the project's own."""
    for node in statements(module):
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None
            ours = node.module.split(".")[0].startswith(CORE)
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return definition(node.module, alias.name) if ours else None
                if alias.name == "*" and name in exported(node.module):
                    return definition(node.module, name)
        elif (
            (isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name)
            or (isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name)
            or (isinstance(node, ast.Assign) and name in map(ast.unparse, node.targets))
        ):
            return Defined(module, name, node)
    return None


def exported(package: str) -> set[str]:
    """What ``from package import *`` gives."""
    names = importlib.import_module(package).__all__
    assert isinstance(names, list)
    return set(names)
