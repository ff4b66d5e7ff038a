"""House rules that no linter knows, as tests: sizes, purity, dead files, lock files, links."""

import ast
import itertools
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("shared", "node_agent", "scheduler", "deploy")
PYTHON_TREES: Final = (*PACKAGES, "tests", "bench")
FILE_LINES_MAX: Final = 400
FUNCTION_LINES_MAX: Final = 50
MADE: Final = {"__pycache__", "build", "dist", "node_modules", "out"}  # not written by a person
TEXT: Final = {".py", ".md", ".sh", ".toml", ".in", ".txt", ".yaml", ".yml", ".cfg", ".proto"}

# What does I/O, reads a clock, rolls dice or depends on scheduling: deciding code has none of it.
IMPURE: Final = frozenset(
    {"asyncio", "time", "random", "os", "socket", "subprocess", "logging", "structlog", "uuid"}
    | {"secrets", "threading", "multiprocessing", "concurrent", "signal", "tempfile", "shutil"}
    | {"ctypes", "urllib.request", "http", "aiohttp", "grpc", "pyroute2", "click"}
)
IMPURE_CALLS: Final = frozenset(
    {"open", "read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "unlink", "rmdir"}
    | {"iterdir", "glob", "rglob", "exists", "is_file", "is_dir", "stat", "touch", "symlink_to"}
    | {"resolve", "now", "today", "utcnow", "getenv"}
)
# Pure code may name the records in these, though a protocol or a reader stands beside them.
RECORDS_BESIDE: Final = frozenset(
    {"shared.store", "shared.settings", "node_agent.runtime"}
    | {"node_agent.network.fabric", "node_agent.network.network"}
)
# Spelled in halves, so that this file keeps its own rule.
FORBIDDEN: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"/wo" + r"rk/",
        r"/opt/py" + r"pi",
        r"py" + r"pi\.org",
        r"python" + r"hosted\.org",
        r"https?://[^\s/]*(artif" + r"actory|ne" + r"xus)",
    )
)
UNFINISHED: Final = re.compile(r"\b(TO" + r"DO\b(?!\(#\d+\): )|FIX" + r"ME\b|XX" + r"X\b)")
LOCKED: Final = re.compile(
    r"^( *#.*|[a-z0-9._-]+==[^\s;]+( ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?|)$"
)
WISHED: Final = re.compile(r"^(#.*|-r [a-z]+\.in|[A-Za-z0-9._-]+([<>=!~][^/ ]*)?|)$")
LINK: Final = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)")


def is_written(path: Path) -> bool:
    """Say whether a person wrote this file, not a tool."""
    parts = path.relative_to(ROOT).parts
    hidden = parts[0].startswith(".") and parts[0] != ".ci"
    return not (hidden or MADE & set(parts) or "_pb2" in path.name or ".egg-info" in parts[0])


def texts() -> Iterator[tuple[str, str]]:
    """Yield (path below the root, content) of every text file of the project."""
    for path in sorted(ROOT.rglob("*")):
        wanted = path.suffix in TEXT or path.name in {"Makefile", "run", "LICENSE"}
        if wanted and is_written(path) and path.is_file():
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


@cache
def modules(*trees: str) -> dict[str, ast.Module]:
    """Return module name -> syntax tree of everything in these packages."""
    found = {}
    for tree in trees:
        for path in sorted((ROOT / tree).rglob("*.py")):
            if is_written(path):
                parts = path.relative_to(ROOT).with_suffix("").parts
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                found[name] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return found


def too_long_functions(tree: ast.Module) -> list[str]:
    """Return the functions of a module that are longer than the house allows."""
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    spans = [(node.name, (node.end_lineno or 0) - node.lineno + 1) for node in functions]
    return [f"{name}: {lines} lines" for name, lines in spans if lines > FUNCTION_LINES_MAX]


def is_pure(tree: ast.Module) -> bool:
    """Say whether a module claims to be pure: a paragraph after the first begins with the word."""
    paragraphs = (ast.get_docstring(tree) or "").split("\n\n")
    return any(paragraph.startswith(("Pure.", "Pure,")) for paragraph in paragraphs[1:])


def imported(tree: ast.Module) -> set[str]:
    """Return every name that a module imports, in all places: `from a import b` gives a and a.b."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, "relative imports are banned"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def impurities(tree: ast.Module, pure: set[str]) -> list[str]:
    """Return what a module does that pure code may not; `pure` are modules that it may import."""
    ours = {name for name in imported(tree) if name.split(".")[0] in PACKAGES}
    found = [name for name in sorted(imported(tree)) if _roots(name) & IMPURE]
    # `from shared.model import Stack` gives a module and a thing in it: one of them is the module.
    found += [
        name for name in sorted(ours) if name not in pure and name.rpartition(".")[0] not in pure
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            name = node.func.id if isinstance(node.func, ast.Name) else name
            found += [f"{name}() in line {node.lineno}"] if name in IMPURE_CALLS else []
        if isinstance(node, ast.AsyncFunctionDef):
            found.append(f"async {node.name}")
    return found


def _roots(name: str) -> set[str]:
    parts = name.split(".")
    return {".".join(parts[: end + 1]) for end in range(len(parts))}


def strings(tree: ast.Module) -> set[str]:
    """Return every string of a module, and what stands before its colon: `package.module:name`."""
    constants = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    texts_ = {value for value in constants if isinstance(value, str)}
    return texts_ | {text.partition(":")[0] for text in texts_}


def dead(trees: dict[str, ast.Module], entries: set[str]) -> list[str]:
    """Return the modules that nobody imports, or starts by name, or by a file name beside it."""
    alive = set(entries)
    for name, tree in trees.items():
        started = {
            f"{name.rpartition('.')[0]}.{text[:-3]}" for text in strings(tree) if text[-3:] == ".py"
        }
        alive |= (imported(tree) | strings(tree) | started) - {name}
    packages = {name.rpartition(".")[0] for name in trees}
    programs = {name for name in trees if name.endswith((".__main__", ".conftest"))}
    return sorted(
        name
        for name in set(trees) - alive - packages - programs
        if not name.rpartition(".")[2].startswith("test_") and (trees[name].body or "." not in name)
    )


def test_no_file_is_longer_than_the_house_allows() -> None:
    lengths = {
        name: text.count("\n")
        for name, text in texts()
        if name.endswith((".py", ".sh")) and name.split("/")[0] in {*PYTHON_TREES, ".ci"}
    }
    assert {name: lines for name, lines in lengths.items() if lines > FILE_LINES_MAX} == {}


def test_no_function_is_longer_than_the_house_allows() -> None:
    found = {name: too_long_functions(tree) for name, tree in modules(*PYTHON_TREES).items()}
    assert {name: functions for name, functions in found.items() if functions} == {}


def test_every_module_says_what_it_owns() -> None:
    trees = modules(*PYTHON_TREES)
    assert [n for n, tree in trees.items() if tree.body and not ast.get_docstring(tree)] == []


def test_pure_modules_do_nothing_but_decide() -> None:
    trees = modules(*PACKAGES)
    pure = {name for name, tree in trees.items() if is_pure(tree)}
    # `from deploy.compose import tree` names a package too; what matters is the module in it.
    packages = {name.rpartition(".")[0] for name in trees}
    found = {
        name: [
            what for what in impurities(trees[name], pure | RECORDS_BESIDE) if what not in packages
        ]
        for name in sorted(pure)
    }

    assert {"shared.model", "shared.states", "shared.keys", "deploy.lab.tally"} <= pure
    assert {name: what for name, what in found.items() if what} == {}


def test_no_module_is_dead() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    entries = {entry.partition(":")[0] for entry in project["scripts"].values()}

    assert dead(modules(*PACKAGES), entries) == []


def test_no_test_helper_is_dead() -> None:
    helpers = dead(modules(*PYTHON_TREES), set())
    assert [name for name in helpers if name.startswith("tests")] == []


def test_no_unfinished_work_without_an_issue() -> None:
    assert [name for name, text in texts() if UNFINISHED.search(text)] == []


def test_nothing_of_the_machine_it_was_written_on_is_in_the_project() -> None:
    found = [
        (name, match.group())
        for (name, text), pattern in itertools.product(texts(), FORBIDDEN)
        if (match := pattern.search(text))
    ]
    assert found == []


@pytest.mark.parametrize(("suffix", "rule"), [(".txt", LOCKED), (".in", WISHED)])
def test_requirement_files_hold_names_versions_and_hashes_only(
    suffix: str, rule: re.Pattern[str]
) -> None:
    lines = [
        (name, line)
        for name, text in texts()
        if name.startswith("requirements/") and name.endswith(suffix)
        for line in text.splitlines()
    ]
    assert lines
    assert [(name, line) for name, line in lines if not rule.match(line)] == []


def test_what_runs_needs_is_pinned_alike_where_tests_run() -> None:
    pinned = {
        name: set(re.findall(r"^([a-z0-9._-]+==\S+)", text, re.MULTILINE))
        for name, text in texts()
        if name in {"requirements/runtime.txt", "requirements/dev.txt"}
    }
    assert pinned["requirements/runtime.txt"] - pinned["requirements/dev.txt"] == set()


def test_every_link_in_a_page_leads_to_a_file() -> None:
    broken = [
        (name, link)
        for name, text in texts()
        if name.endswith(".md")
        for link in LINK.findall(text)
        if not (ROOT / name).parent.joinpath(link).exists()
    ]
    assert broken == []


def test_every_test_that_a_page_names_is_there() -> None:
    named = set(re.findall(r"`([a-z_]{12,})`", (ROOT / "docs" / "elsewhere.md").read_text()))
    found = {
        node.name
        for tree in modules("tests").values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert named
    assert named <= found, named - found


@pytest.mark.parametrize(
    "code",
    [
        "import time",
        "import os.path",
        "from urllib.request import urlopen",
        "from shared.clock import SystemClock",
        "def f(p):\n    return p.read_text()",
        "def f(p):\n    return open(p)",
        "async def f():\n    pass",
        "def f():\n    import random",
    ],
)
def test_the_purity_rule_sees(code: str) -> None:
    assert len(impurities(ast.parse(code), {"shared.model"})) >= 1
    allowed = "from shared.model import Stack\nimport math\nfrom urllib.parse import urlsplit"
    assert impurities(ast.parse(allowed), {"shared.model"}) == []


def test_the_rule_against_dead_modules_sees_one() -> None:
    code = {
        "a": "",
        "a.b": "x = 1",
        "a.c": "x = 1",
        "a.e": "x = 1",
        "a.d": "import a.b\ny = 'a.c:main', 'e.py'",
    }
    trees = {name: ast.parse(text) for name, text in code.items()}

    assert dead(trees, set()) == ["a.d"]
    assert dead(trees, {"a.d"}) == []


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        (LOCKED, "--index-url https://host/simple", "ruff==0.1 \\"),
        (LOCKED, "pkg @ https://host/pkg.whl", "    --hash=sha256:" + "0" * 64),
        (WISHED, "-i https://host/simple", "setuptools<81"),
        (WISHED, "pkg @ https://host/pkg.whl", "-r runtime.in"),
    ],
)
def test_the_rule_for_requirement_files_tells_bad_from_good(
    rule: re.Pattern[str], bad: str, good: str
) -> None:
    assert not rule.match(bad)
    assert rule.match(good)


def test_the_rules_on_words_see_what_they_forbid() -> None:
    word = "todo".upper()
    assert UNFINISHED.search(f"# {word}: later")
    assert not UNFINISHED.search(f"# {word}(#12): later")
    assert any(pattern.search("see /wo" + "rk/main") for pattern in FORBIDDEN)
