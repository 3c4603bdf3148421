"""What holds for the project as a whole: its layers, its spec, its packaging."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from collections import defaultdict
from functools import cache
from importlib import metadata, resources
from pathlib import Path

import pytest

from listenproto._rules import BREACHES, MODES

ROOT = Path(__file__).parent.parent

IMPURE = (
    "trio",
    "trio_websocket",
    "asyncio",
    "anyio",
    "socket",
    "ssl",
    "selectors",
    "threading",
    "time",
    "random",
    "logging",
    "subprocess",
    "multiprocessing",
)

IMPORT_ALL = """
import importlib, json, pkgutil, sys
import attrs, wsproto, wsproto.connection
before = set(sys.modules)
import listenproto
on_demand = {"_handling", "_logs", "asyncio", "recording", "testing"}
names = [m.name for m in pkgutil.iter_modules(listenproto.__path__) if m.name not in on_demand]
for name in names:
    importlib.import_module("listenproto." + name)
print(json.dumps([names, sorted(set(sys.modules) - before)]))
"""

IMPORT_ASYNCIO = """
import json, sys
sys.path.insert(0, {root!r})
before = set(sys.modules)
import listenproto
assert "asyncio" not in sys.modules
import listenproto.asyncio
print(json.dumps(sorted(set(sys.modules) - before)))
"""

IMPORT_RECORDING = """
import json, sys
sys.path.insert(0, {root!r})
before = set(sys.modules)
import listenproto
assert "listenproto.recording" not in sys.modules
import listenproto.recording
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_the_core_brings_in_nothing_that_does_io() -> None:
    python = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})"]
    python[-1] += IMPORT_ALL
    # Without the environment no measuring of coverage has brought some in already.
    run = subprocess.run(python, capture_output=True, text=True, check=True, env={})
    names, brought = json.loads(run.stdout)
    assert {"_messages", "codec", "_playout", "_task", "_wire", "_connection"} <= set(names)
    assert "listenproto._playout" in brought
    assert [module for module in brought if module.split(".")[0] in IMPURE] == []


def brought_by(script: str) -> set[str]:
    """The packages that a script imports."""
    run = subprocess.run(
        [sys.executable, "-I", "-c", script.format(root=str(ROOT))],
        capture_output=True,
        text=True,
        check=True,
        env={},
    )
    brought = {module.split(".")[0] for module in json.loads(run.stdout)}
    others = brought - set(sys.stdlib_module_names)
    assert others == {"attr", "attrs", "h11", "listenproto", "wsproto"}
    return brought


@pytest.mark.parametrize(
    ("package", "public"),
    [
        ("listenproto", {"asyncio", "codec", "recording", "testing"}),
        ("listenproto_trio", {"cli", "speech"}),
    ],
)
def test_what_is_not_for_users_begins_with_an_underscore(package: str, public: set[str]) -> None:
    names = {module.name for module in pkgutil.iter_modules([str(ROOT / package)])}
    assert {name for name in names if not name.startswith("_")} == public


def test_asyncio_needs_only_the_standard_library() -> None:
    """No framework is imported, whichever are installed."""
    assert "asyncio" in brought_by(IMPORT_ASYNCIO)


def test_recordings_and_traces_need_no_runtime() -> None:
    brought = brought_by(IMPORT_RECORDING)
    assert not brought & {"asyncio", "socket", "ssl", "selectors", "subprocess"}


def imports(source: str) -> set[str]:
    """Every module that a source names in an import."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            found.add(node.module or "")
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found


def test_the_layers_of_the_core_point_one_way() -> None:
    order = [
        "_errors",
        "_shown",
        "_checks",
        "_choices",
        "_ends",
        "_frozen",
        "_l16",
        "_wav",
        "_terms",
        "_jsontext",
        "_salvage",
        "_splitter",
        "_bodies",
        "_messages",
        "_watcher",
        "codec",
        "_clip_audio",
        "_url",
        "_verb_options",
        "_verb",
        "_profile",
        "_verb_judge",
        "_webhook",
        "_rules",
        "_lifecycle",
        "_upgrade",
        "_violation",
        "_way",
        "_pace",
        "_sent",
        "_clips",
        "_app_clips",
        "_faults",
        "_marks",
        "_observer",
        "_heard",
        "_framed_stream",
        "_playout",
        "_handshake",
        "_session",
        "_app_session",
        "_platform_session",
        "_listen_result",
        "_silence",
        "_task",
        "_frames",
        "_framing",
        "_wire",
        "_connection",
        "_trace",
        "_review",
        "_limits",
        "_unread",
        "_message_connection",
        "_link",
        "_speech",
        "_statistics",
        "_ended_call",
        "_answering",
        "_markers",
        "_sender",
        "_talking",
        "_app_call",
        "_account",
        "_runtime",
        "_playback",
        "_waiting",
    ]
    files = {path.stem: path.read_text() for path in (ROOT / "listenproto").glob("*.py")}
    adapters = {"_handling", "_logs"}  # what adapters share, which logs
    assert set(order) == set(files) - {"__init__", "__main__"} - adapters
    for name in order:
        imported = imports(files[name])
        own = {module.split(".")[1] for module in imported if module.startswith("listenproto.")}
        below = set(order[: order.index(name)])
        assert own <= below, f"{name} imports {own - below} from above"
        roots = {module.split(".")[0] for module in imported}
        assert not roots & {"listenproto_trio", *IMPURE}, name


def test_the_bare_install_is_the_core_and_the_rest_is_extras() -> None:
    requirements = metadata.requires("listenproto") or []
    bare = {re.split(r"[ <>=!;\[]", text)[0] for text in requirements if "extra ==" not in text}
    assert bare == {"attrs", "h11", "wsproto"}
    assert set(metadata.metadata("listenproto").get_all("Provides-Extra") or []) == {
        "bench",
        "cli",
        "docs",
        "interop",
        "metrics",
        "mutation",
        "recording",
        "test",
        "testing",
        "trio",
    }


def without(missing: str, code: str) -> subprocess.CompletedProcess[str]:
    """What Python says to the code if a module is not installed."""
    code = f"import sys; sys.modules[{missing!r}] = None; {code}"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("listenproto_trio", "trio", "trio"),
        ("listenproto_trio", "trio_websocket", "trio"),
        ("listenproto.testing", "hypothesis", "testing"),
    ],
)
def test_a_module_without_its_packages_names_the_extra(
    module: str, missing: str, extra: str
) -> None:
    run = without(missing, f"import {module}")
    assert run.returncode == 1
    said = f"{module} needs the extra {extra}: pip install 'listenproto[{extra}]'"
    assert run.stderr.splitlines()[-1] == f"ModuleNotFoundError: {said}"


RUN_COMMAND = "from listenproto.__main__ import main; main()"


@pytest.mark.parametrize("missing", ["trio", "click", "soundfile"])
def test_the_command_without_its_packages_names_the_extra(missing: str) -> None:
    run = without(missing, RUN_COMMAND)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "listenproto needs the extra cli: pip install 'listenproto[cli]'\n"


def test_figures_without_their_package_name_the_extra() -> None:
    words = "['listenproto', 'serve', '--metrics', '/metrics']"
    run = without("prometheus_client", f"sys.argv = {words}; {RUN_COMMAND}")
    assert (run.returncode, run.stdout) == (2, "")
    said = "--metrics needs the extra metrics: pip install 'listenproto[metrics]'"
    assert run.stderr == f"listenproto: {said}\n"


@pytest.mark.parametrize(
    ("missing", "code"),
    [
        ("listenproto_trio._call", RUN_COMMAND),
        ("listenproto_trio._call", "import listenproto_trio"),
        ("listenproto.testing.verbs", "import listenproto.testing"),
    ],
)
def test_a_module_of_the_project_that_is_missing_is_not_taken_for_an_extra(
    missing: str, code: str
) -> None:
    run = without(missing, code)
    assert run.returncode == 1
    said = f"ModuleNotFoundError: import of {missing} halted; None in sys.modules"
    assert run.stderr.splitlines()[-1] == said


def test_the_command_runs_as_a_module_too() -> None:
    python = [sys.executable, "-m", "listenproto", "--version"]
    run = subprocess.run(python, cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("listenproto, version ")


@pytest.mark.parametrize("package", ["listenproto", "listenproto_trio"])
def test_the_packages_are_typed(package: str) -> None:
    assert resources.files(package).joinpath("py.typed").is_file()


def clauses_in(text: str) -> set[str]:
    return set(re.findall(r"LP-[A-Z]+-[0-9]+", text))


def test_every_clause_that_code_names_is_in_the_spec_and_none_is_there_twice() -> None:
    spec = (ROOT / "spec" / "listen.md").read_text()
    defined = re.findall(r"^- \*\*(LP-[A-Z]+-[0-9]+)\*\* ", spec, re.MULTILINE)
    assert len(defined) == len(set(defined))
    for package in ("listenproto", "listenproto_trio", "tests"):
        for path in (ROOT / package).rglob("*.py"):
            assert clauses_in(path.read_text()) <= set(defined), path
    assert clauses_in(spec) == set(defined)


def test_every_rule_of_the_tables_names_a_clause() -> None:
    spec = (ROOT / "spec" / "listen.md").read_text()
    for clause in [*(clause for clause, _ in BREACHES.values()), *(c for _, c in MODES.values())]:
        assert f"**{clause}**" in spec


def test_nothing_else_is_on_the_top_level() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("only a checkout knows which files belong to the project")
    run = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {line.split("/")[0] for line in run.stdout.splitlines()} <= {
        ".ci",
        ".gitignore",
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "listenproto",
        "listenproto_trio",
        "pyproject.toml",
        "spec",
        "tests",
    }


def test_the_readme_shows_the_examples_that_the_suite_runs() -> None:
    readme = (ROOT / "README.md").read_text()
    shown = re.findall(
        r"<!-- (tests/examples/\w+\.py) -->\n```python\n(.*?)\n```", readme, re.DOTALL
    )
    assert {Path(name).stem for name, _ in shown} == {
        "server_trio",
        "caller_trio",
        "server_asyncio",
        "my_app",
        "test_my_app",
    }
    for name, code in shown:
        assert code == (ROOT / name).read_text().rstrip(), name
    parts = re.findall(
        r"<!-- part of (tests/examples/\w+\.py) -->\n```python\n(.*?)\n```", readme, re.DOTALL
    )
    assert len(parts) == readme.count("<!-- part of ") > 0
    for name, code in parts:
        assert f"\n{code}\n" in (ROOT / name).read_text(), name


def test_the_readme_names_every_example() -> None:
    readme = (ROOT / "README.md").read_text()
    for path in (ROOT / "tests" / "examples").glob("[!_]*.py"):
        assert path.stem.startswith("test_") or f"({path.relative_to(ROOT)})" in readme


def test_every_decision_that_code_names_is_in_the_register() -> None:
    register = (ROOT / "spec" / "decisions.md").read_text()
    defined = set(re.findall(r"^\| (D[0-9]+) \|", register, re.MULTILINE))
    for package in ("listenproto", "listenproto_trio", "tests"):
        for path in (ROOT / package).rglob("*.py"):
            named = set(re.findall(r"\bD[0-9]{1,2}\b", path.read_text()))
            assert named <= defined, path


@cache
def taken() -> dict[str, set[str]]:
    """What the packages' modules import from each module by name."""
    names: dict[str, set[str]] = defaultdict(set)
    for package in ("listenproto", "listenproto_trio"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module is not None:
                    names[node.module].update(alias.name for alias in node.names)
    return names


@pytest.mark.parametrize(
    "module",
    [
        "listenproto._l16",
        "listenproto._trace",
        "listenproto._verb",
        "listenproto._wav",
        "listenproto._webhook",
        "listenproto.recording",
        "listenproto.recording._files",
        "listenproto.recording._names",
        "listenproto.recording._recorder",
        "listenproto.recording._resampling",
    ],
)
def test_what_other_modules_take_from_a_module_is_in_its_all(module: str) -> None:
    assert taken()[module] - set(importlib.import_module(module).__all__) == set()


def test_no_test_module_imports_another() -> None:
    """What tests share is in support modules, so that no test file depends on another."""
    importing = re.compile(r"^ *(?:from|import) .*\btest_\w+", re.MULTILINE)
    for path in (ROOT / "tests").rglob("*.py"):
        assert importing.findall(path.read_text("utf-8")) == [], path
