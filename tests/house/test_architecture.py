"""Which room may import which, and how large a file, a function and a line may be.

    cli -> commands -> { services, machine } -> { bundle, layers, images, packages }
        -> { executable, squashfs } -> files

with errors, limits and version below all. An arrow means "may import", and whatever is further to
the right may be imported too. Rooms of one level may import each other one way only.
"""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

import pytest
from support import TESTS

ROOT = TESTS.parent
LEVELS = (
    {"errors", "limits", "version"},
    {"files"},
    {"executable", "squashfs"},
    {"bundle", "layers", "images", "packages"},
    {"services", "machine"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
LARGEST_FILE, LARGEST_FUNCTION, LONGEST_LINE = 400, 70, 100

Imports = Mapping[str, Set[str]]


def module_name(file: Path) -> str:
    """`toolkit/layers/tar.py` is toolkit.layers.tar; a package is what its directory is called."""
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST) -> Iterator[str]:
    """Every name that is imported anywhere in it, in functions and for type checks too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports have the whole name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_of(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """From each module of `sources` (text by module) to those that it imports."""
    found: dict[str, set[str]] = {}
    for module, text in sources.items():
        found[module] = set()
        for name in imported(ast.parse(text)):
            # A name is a module, or what stands in one.
            target = name if name in sources else name.rpartition(".")[0]
            if target in sources and target not in (module, "toolkit"):
                found[module].add(target)
    return found


def room(module: str) -> str:
    return module.split(".")[1]


def against_the_rule(imports: Imports) -> list[str]:
    """Imports from below to above, and rooms of one level that import each other."""
    faults = []
    beside: dict[tuple[str, str], str] = {}
    for module, targets in sorted(imports.items()):
        for target in sorted(targets):
            one, other = room(module), room(target)
            if one == other:
                continue
            if LEVEL[other] > LEVEL[one]:
                faults.append(f"{module} imports {target}, which stands above it")
            elif LEVEL[other] == LEVEL[one]:
                beside[one, other] = f"{module} imports {target}"
    return faults + [
        f"{told}, and {beside[other, one]}: a ring of rooms"
        for (one, other), told in beside.items()
        if one < other and (other, one) in beside
    ]


def rings(imports: Imports) -> list[list[str]]:
    """Modules that import each other, by whatever way."""
    found, done = [], set()

    def visit(module: str, way: list[str]) -> None:
        if module in way:
            found.append([*way[way.index(module) :], module])
        elif module not in done:
            for target in sorted(imports[module]):
                visit(target, [*way, module])
            done.add(module)

    for module in sorted(imports):
        visit(module, [])
    return found


def toolkit() -> dict[str, str]:
    return {
        module_name(file.relative_to(ROOT)): file.read_text()
        for file in sorted((ROOT / "toolkit").rglob("*.py"))
    }


def test_every_room_has_a_level() -> None:
    assert {room(module) for module in toolkit() if "." in module} == set(LEVEL)


def test_no_module_imports_against_the_rule() -> None:
    assert against_the_rule(imports_of(toolkit())) == []


def test_no_modules_import_each_other() -> None:
    assert rings(imports_of(toolkit())) == []


@pytest.mark.parametrize(
    ("module", "line", "told"),
    [
        ("toolkit.files.copy", "from toolkit.squashfs.structs import MetadataRef", "above"),
        ("toolkit.squashfs.tree", "def f():\n    from toolkit.layers import tar", "above"),
        ("toolkit.layers.tar", "import toolkit.images.source", "ring"),
        ("toolkit.services.build", "from toolkit.commands import build", "above"),
        ("toolkit.errors", "from toolkit.files.copy import pieces", "above"),
    ],
)
def test_the_rule_is_seen_to_be_broken(module: str, line: str, told: str) -> None:
    sources = toolkit()
    sources[module] += f"\n{line}\n"
    (fault,) = against_the_rule(imports_of(sources))
    assert module in fault and told in fault


HIDING = {"Exception", "BaseException", "AssertionError", "IndexError", "LookupError"}
"""Caught without being raised again, these hide defects of our own from tests and fuzzers."""
MAY_CATCH = {
    "toolkit.squashfs.read.lookup": 1,  # around PySquashfsImage, which raises of every kind
    "toolkit.layers.stream": 1,  # handed to the thread that reads, and raised there
}


def hidden(text: str) -> list[int]:
    """The lines of handlers that catch one of these, or everything, and do not raise it again."""
    lines = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        kinds = {each.id for each in ast.walk(node.type or node) if isinstance(each, ast.Name)}
        raised = any(isinstance(last, ast.Raise) and last.exc is None for last in (node.body[-1],))
        if (node.type is None or kinds & HIDING) and not raised:
            lines.append(node.lineno)
    return lines


def test_no_error_of_our_own_is_hidden() -> None:
    found = {module: len(hidden(text)) for module, text in toolkit().items()}
    assert {module: count for module, count in found.items() if count} == MAY_CATCH
    planted = "try:\n    pass\nexcept {}:\n    pass\n"
    for kind in ("Exception", "(ValueError, IndexError)", "BaseException"):
        assert hidden(planted.format(kind)) == [3]
    assert hidden("try:\n    pass\nexcept:\n    f()\n") == [3]
    assert hidden(planted.format("(ValueError, OSError)")) == []


def python_files() -> list[Path]:
    command = ["git", "ls-files", "-co", "--exclude-standard", "*.py"]
    try:
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        names = listed.stdout.split()
    except (OSError, subprocess.CalledProcessError):  # a source archive
        rooms = ("toolkit", "tests", "bench", "docs", "fixtures", "runtimes")
        names = [str(file) for each in rooms for file in (ROOT / each).rglob("*.py")]
    return [ROOT / name for name in names if (ROOT / name).exists()]


def too_large(text: str) -> list[str]:
    """What of a file is beyond the bounds."""
    lines = text.splitlines()
    faults = [f"{len(lines)} lines"] if len(lines) > LARGEST_FILE else []
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE:
            faults.append(f"line {number} has {len(line)} columns")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if size > LARGEST_FUNCTION:
                faults.append(f"{node.name} has {size} lines")
    return faults


def test_files_functions_and_lines_fit_a_screen() -> None:
    files = python_files()
    assert len(files) > 100
    found = {str(file.relative_to(ROOT)): too_large(file.read_text()) for file in files}
    assert {name: faults for name, faults in found.items() if faults} == {}


def test_bounds_hold_at_their_value_and_not_one_beyond() -> None:
    function = "def f():\n" + "    pass\n" * (LARGEST_FUNCTION - 1)
    assert too_large(function) == [] and too_large(function + "    pass\n") == ["f has 71 lines"]
    assert too_large("\n" * LARGEST_FILE) == []
    assert too_large("\n" * (LARGEST_FILE + 1)) == ["401 lines"]
    assert too_large("#" * LONGEST_LINE) == []
    assert too_large("#" * (LONGEST_LINE + 1)) == ["line 1 has 101 columns"]
