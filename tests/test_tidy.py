"""House rules that no linter knows, as tests: sizes, purity, dead files, lock files, links."""

import ast
import itertools
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

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


@cache
def texts() -> tuple[tuple[str, str], ...]:
    """Return (path below the root, content) of every text file of the project."""
    tops = [path for path in ROOT.iterdir() if is_written(path)]  # not .venv with its thousands
    paths = sorted(path for top in tops for path in (top, *top.rglob("*")))
    return tuple(
        (str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
        for path in paths
        if path.suffix in TEXT or path.name in {"Makefile", "run", "LICENSE"}
        if is_written(path) and path.is_file()
    )


class Module(NamedTuple):
    """What the rules ask of one module: its syntax tree is walked once and not kept."""

    is_empty: bool
    doc: str
    functions: tuple[tuple[str, int], ...]  # name, lines
    coroutines: tuple[str, ...]
    calls: tuple[tuple[str, int], ...]  # the last part of what is called, line
    imported: frozenset[str]  # in all places; `from a import b` gives a and a.b
    strings: frozenset[str]
    raising: tuple[int, ...]  # lines in `except*` that leave it by an exception

    @classmethod
    def of(cls, code: str) -> "Module":
        """Parse a module."""
        tree = ast.parse(code)
        nodes = list(ast.walk(tree))
        functions = [n for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        calls = [n for n in nodes if isinstance(n, ast.Call)]
        constants = [n.value for n in nodes if isinstance(n, ast.Constant)]
        return cls(
            is_empty=not tree.body,
            doc=ast.get_docstring(tree) or "",
            functions=tuple((n.name, (n.end_lineno or 0) - n.lineno + 1) for n in functions),
            coroutines=tuple(n.name for n in functions if isinstance(n, ast.AsyncFunctionDef)),
            calls=tuple((_called(n.func), n.lineno) for n in calls),
            imported=frozenset(name for node in nodes for name in _imported(node)),
            strings=frozenset(value for value in constants if isinstance(value, str)),
            raising=tuple(n.lineno for node in nodes for n in _raising(node)),
        )


def _called(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _raising(node: ast.AST) -> list[ast.Raise | ast.Call]:
    if not isinstance(node, ast.TryStar):
        return []
    inside = [n for handler in node.handlers for part in handler.body for n in ast.walk(part)]
    leaves = {"exit", "heed_cancellation"}
    return [
        n
        for n in inside
        if isinstance(n, ast.Raise) or (isinstance(n, ast.Call) and _called(n.func) in leaves)
    ]


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.module is not None, "relative imports are banned"
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


@cache
def tree(folder: str) -> dict[str, Module]:
    """Return module name -> module of everything in a package."""
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        if is_written(path):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = Module.of(path.read_text(encoding="utf-8"))
    return found


def modules(*folders: str) -> dict[str, Module]:
    """Return module name -> module of everything in these packages."""
    return {name: module for folder in folders for name, module in tree(folder).items()}


def too_long_functions(module: Module) -> list[str]:
    """Return the functions of a module that are longer than the house allows."""
    return [
        f"{name}: {lines} lines" for name, lines in module.functions if lines > FUNCTION_LINES_MAX
    ]


def is_pure(module: Module) -> bool:
    """Say whether a module claims to be pure: a paragraph after the first begins with the word."""
    paragraphs = module.doc.split("\n\n")
    return any(paragraph.startswith(("Pure.", "Pure,")) for paragraph in paragraphs[1:])


def impurities(module: Module, pure: set[str]) -> list[str]:
    """Return what a module does that pure code may not; `pure` are modules that it may import."""
    ours = {name for name in module.imported if name.split(".")[0] in PACKAGES}
    found = [name for name in sorted(module.imported) if _roots(name) & IMPURE]
    # `from shared.model import Stack` gives a module and a thing in it: one of them is the module.
    found += [
        name for name in sorted(ours) if name not in pure and name.rpartition(".")[0] not in pure
    ]
    found += [f"{name}() in line {line}" for name, line in module.calls if name in IMPURE_CALLS]
    return found + [f"async {name}" for name in module.coroutines]


def _roots(name: str) -> set[str]:
    parts = name.split(".")
    return {".".join(parts[: end + 1]) for end in range(len(parts))}


def named(module: Module) -> set[str]:
    """Return every string of a module, and what stands before its colon: `package.module:name`."""
    return {*module.strings, *(text.partition(":")[0] for text in module.strings)}


def dead(trees: dict[str, Module], entries: set[str]) -> list[str]:
    """Return the modules that nobody imports, or starts by name, or by a file name beside it."""
    alive = set(entries)
    for name, module in trees.items():
        started = {
            f"{name.rpartition('.')[0]}.{text[:-3]}"
            for text in module.strings
            if text[-3:] == ".py"
        }
        alive |= (module.imported | named(module) | started) - {name}
    packages = {name.rpartition(".")[0] for name in trees}
    programs = {name for name in trees if name.endswith((".__main__", ".conftest"))}
    return sorted(
        name
        for name in set(trees) - alive - packages - programs
        if not name.rpartition(".")[2].startswith("test_")
        and not (trees[name].is_empty and "." in name)
    )


def test_no_file_is_longer_than_the_house_allows() -> None:
    lengths = {
        name: text.count("\n")
        for name, text in texts()
        if name.endswith((".py", ".sh")) and name.split("/")[0] in {*PYTHON_TREES, ".ci"}
    }
    assert {name: lines for name, lines in lengths.items() if lines > FILE_LINES_MAX} == {}


def test_no_function_is_longer_than_the_house_allows() -> None:
    trees = modules(*PYTHON_TREES)
    found = {name: too_long_functions(module) for name, module in trees.items()}
    assert {name: functions for name, functions in found.items() if functions} == {}


def test_every_module_says_what_it_owns() -> None:
    trees = modules(*PYTHON_TREES)
    assert [name for name, each in trees.items() if not (each.is_empty or each.doc)] == []


def test_pure_modules_do_nothing_but_decide() -> None:
    trees = modules(*PACKAGES)
    pure = {name for name, module in trees.items() if is_pure(module)}
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


def test_nothing_is_raised_inside_of_except_star() -> None:
    """Python before 3.11.4 makes a group of it, which no handler further out knows."""
    found = {name: module.raising for name, module in modules(*PYTHON_TREES).items()}
    assert {name: lines for name, lines in found.items() if lines} == {}
    bad = "try:\n    pass\nexcept* ValueError as e:\n    raise e.exceptions[0]"
    assert Module.of(bad).raising == (4,)


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
    wanted = set(re.findall(r"`([a-z_]{12,})`", (ROOT / "docs" / "elsewhere.md").read_text()))
    found = {name for module in modules("tests").values() for name, _ in module.functions}
    assert wanted
    assert wanted <= found, wanted - found


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
    assert len(impurities(Module.of(code), {"shared.model"})) >= 1
    allowed = "from shared.model import Stack\nimport math\nfrom urllib.parse import urlsplit"
    assert impurities(Module.of(allowed), {"shared.model"}) == []


def test_the_rule_against_dead_modules_sees_one() -> None:
    code = {
        "a": "",
        "a.b": "x = 1",
        "a.c": "x = 1",
        "a.e": "x = 1",
        "a.d": "import a.b\ny = 'a.c:main', 'e.py'",
    }
    trees = {name: Module.of(text) for name, text in code.items()}

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
