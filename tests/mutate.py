"""Random mutants of the toolkit, each run against the tests that run the changed line.

    python tests/mutate.py [--count N] [--minutes M] [--seed S] [FILE ...]

A mutant is one small change: a constant or a comparison off by one, `and` for `or`, a call whose
value nobody takes left out (fsync, close), a `not` dropped, a condition turned. Prints each that no
test found as `FILE:LINE: before -> after`; the exit status is 1 when fewer than 90 % were found.

Which lines a test runs is recorded once (.cache/mutate.json) and anew for the test files that have
changed, or for all when the toolkit has. Tests marked `slow` take no part. A mutant has the fastest
tests that run its line, up to a minute of them; one in a constant of a module has those of the
lines that name it. Works on a copy of the tree, so that one may go on editing.

Not drawn, because no test could or should tell them: the sentences of errors, annotations, what
asks for Python's version, and the constants of PERFORMANCE in tests/mutations.py, which decide how
fast something is and nothing else. All else is, so that some that are drawn are as good as what
they change.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mutations import mutated, names_of_constants, sites, statement_at

ROOT = Path(__file__).resolve().parent.parent
WANTED = 0.9
ROOMS = ("layers", "squashfs", "images", "bundle", "executable", "files")
_LIMITS = "house/test_limits.py"
TESTS = [*(f"{room}/test_*.py" for room in (*ROOMS, "services", "commands")), _LIMITS]
"""Those that may find a mutant; the runtime's start containers, the house's read sources."""
_LEFT_OUT = {
    "layers": ("bounds", "archive_bounds", "large_layers"),
    "executable": ("forged", "hostile", "old_files"),
    "services": ("determinism", "real_images"),
    "commands": ("help", "progress"),
}
"""Test files that start the tool again and again to see what it takes or prints: they would find a
few more, and take half of the time."""
_MOST_SECONDS = 60.0
"""Of tests for one mutant, as they took when recorded."""
_PATIENCE = 60.0
"""Seconds more than that: a mutant that never ends is found, too."""
_RECORD = ROOT / ".cache" / "mutate.json"


@dataclass
class Recorded:
    """The tests, what each takes, and which run a line."""

    seconds: dict[str, float] = field(default_factory=dict)
    running: dict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, tests: dict[str, Any], lines: dict[str, dict[str, list[int]]]) -> None:
        for test, facts in tests.items():
            if "skipped" in facts or "fixtures" not in facts:
                continue
            fixtures = [name for name in facts["fixtures"] if name in tests]
            self.seconds[test] = facts["seconds"] + sum(
                tests[name].get("seconds", 0.0) for name in fixtures
            )
            for key in (test, *fixtures):
                for file, numbers in lines.get(key, {}).items():
                    for number in numbers:
                        self.running[file, number].add(test)

    def fastest(self, tests: set[str]) -> list[str]:
        """As many as there is time for, a test at least."""
        chosen, total = [], 0.0
        for test in sorted(tests, key=self.seconds.__getitem__):
            total += self.seconds[test]
            if chosen and total > _MOST_SECONDS:
                break
            chosen.append(test)
        return chosen


def _hash(files: list[Path]) -> str:
    whole = hashlib.sha256()
    for file in sorted(files):
        whole.update(b"%b\0%b\0" % (os.fsencode(file.name), file.read_bytes()))
    return whole.hexdigest()


def _environment(tree: Path, **more: str) -> dict[str, str]:
    path = os.pathsep.join((str(tree), str(tree / "tests")))
    return {**os.environ, "PYTHONPATH": path, "DOCKERC_FUZZ": "300", **more}


def _pytest(*words: str | Path) -> list[str]:
    options = ["-q", "-p", "no:cacheprovider", "-m", "not slow", "--hypothesis-seed=1"]
    return [sys.executable, "-m", "pytest", *options, *map(str, words)]


def record(tree: Path) -> Recorded:
    """Runs the tests whose record is not of this tree, and reads that of all."""
    toolkit = _hash(list((tree / "toolkit").rglob("*.py")))
    known = json.loads(_RECORD.read_text()) if _RECORD.exists() else {}
    current = {}
    for pattern in TESTS:
        left_out = [f"test_{name}.py" for name in _LEFT_OUT.get(pattern.partition("/")[0], ())]
        found = sorted((tree / "tests").glob(pattern))
        files = [file for file in found if file.name not in left_out]
        keys = {str(file.relative_to(tree)): toolkit + _hash([file]) for file in files}
        stale = [name for name, key in keys.items() if known.get(name, {}).get("key") != key]
        if stale:
            print(f"recording which lines {' '.join(stale)} run", file=sys.stderr, flush=True)
            for name, found in _record(tree, stale).items():
                known[name] = {"key": keys[name], **found}
            _RECORD.parent.mkdir(exist_ok=True)
            _RECORD.write_text(json.dumps(known))
        current |= {name: known[name] for name in keys}
    recorded = Recorded()
    for found in current.values():
        recorded.add(found["tests"], found["lines"])
    return recorded


def _record(tree: Path, files: list[str]) -> dict[str, Any]:
    """Of each test file: its tests and fixtures, and the lines of each."""
    with tempfile.TemporaryDirectory(prefix="dockerc-lines-") as place:
        Path(place, "sitecustomize.py").write_text(
            "import os\nif os.environ.get('DOCKERC_LINES_KEY'):\n"
            "    import line_recorder\n    line_recorder.start()\n"
        )
        environment = _environment(tree, DOCKERC_LINES=place)
        environment["PYTHONPATH"] += os.pathsep + place
        command = _pytest("-p", "line_recorder", *files)
        subprocess.run(command, cwd=tree, env=environment, stdout=sys.stderr)
        tests = json.loads(Path(place, "tests.json").read_text())
        lines: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
        for part in Path(place).glob("lines-*"):
            for key, found in json.loads(part.read_text()).items():
                for file, numbers in found.items():
                    lines[key][file].update(numbers)
    fixtures = {key for facts in tests.values() for key in facts.get("fixtures", ())}
    result: dict[str, Any] = {}
    for file in files:
        own = {key for key in tests if key.startswith(f"{file}::")} | fixtures
        result[file] = {
            "tests": {key: tests[key] for key in own if key in tests},
            "lines": {
                key: {name: sorted(numbers) for name, numbers in lines[key].items()}
                for key in own
                if key in lines
            },
        }
    return result


class Bench:
    """A copy of the tree, in which one mutant after the other is tried."""

    def __init__(self, tree: Path) -> None:
        self._tree = tree
        self._recorded = record(tree)
        self._names = _lines_by_name(tree)

    def __enter__(self) -> Bench:
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        files = sorted({test.partition("::")[0] for test in self._recorded.seconds})
        environment = _environment(
            self._tree, PYTHONDONTWRITEBYTECODE="1", DOCKERC_MUTANTS=f"{requests},{answers}"
        )
        self._server = subprocess.Popen(
            _pytest("-p", "mutant_server", *files), cwd=self._tree, env=environment,
            pass_fds=(requests, answers), stdout=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(requests)
        os.close(answers)
        self._replies = os.fdopen(self._answers)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._requests)
        self._server.wait()
        self._replies.close()

    def is_found(self, file: Path, change: tuple[int, int], line: int) -> bool:
        """Whether a test that runs the line fails, or does not end."""
        tests = self._running(file, (self._tree / file).read_text(), line)
        return bool(tests) and self._ask(file, change, tests)

    def _ask(self, file: Path, change: tuple[int, int], tests: list[str]) -> bool:
        seconds = 3 * sum(map(self._recorded.seconds.__getitem__, tests)) + _PATIENCE
        request = {
            "file": str(self._tree / file), "change": change, "tests": tests, "seconds": seconds
        }  # fmt: skip
        os.write(self._requests, json.dumps(request).encode() + b"\n")
        return bool(json.loads(self._replies.readline()))

    def _running(self, file: Path, text: str, line: int) -> list[str]:
        running = self._recorded.running
        tests: set[str] = set()
        for number in statement_at(text, line):
            tests |= running.get((str(file.relative_to("toolkit")), number), set())
        constants = names_of_constants(text, line)
        for name in constants:
            for place in self._names[name]:
                tests |= running.get(place, set())
        chosen = self._recorded.fastest(tests) if tests else []
        tables = [name for name in self._recorded.seconds if _LIMITS in name]
        return [*tables, *chosen] if constants else chosen


def _lines_by_name(tree: Path) -> dict[str, set[tuple[str, int]]]:
    """Where each name stands in the toolkit, bare or behind a dot."""
    found: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for file in (tree / "toolkit").rglob("*.py"):
        place = str(file.relative_to(tree / "toolkit"))
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, (ast.Name, ast.Attribute)):
                name = node.id if isinstance(node, ast.Name) else node.attr
                found[name].add((place, node.lineno))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("files", nargs="*", type=Path)
    words = parser.parse_args()
    choose = random.Random(words.seed)
    files = [file.resolve().relative_to(ROOT) for file in words.files] or sorted(
        file.relative_to(ROOT) for room in ROOMS for file in (ROOT / "toolkit" / room).rglob("*.py")
    )
    tried: Counter[str] = Counter()
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="dockerc-mutate-") as place:
        tree = Path(place, "tree")
        ignored = shutil.ignore_patterns(".git", ".venv", ".cache", "zig-out", ".zig-cache")
        shutil.copytree(ROOT, tree, ignore=ignored)
        texts = {file: (tree / file).read_text() for file in files}
        every = [(file, *site) for file, text in texts.items() for site in sites(text)]
        end = time.monotonic() + 60 * words.minutes
        with Bench(tree) as bench:
            for file, number, choice, line in choose.sample(every, min(words.count, len(every))):
                if time.monotonic() > end:
                    break
                tried[file.parts[1]] += 1
                if bench.is_found(file, (number, choice), line):
                    found[file.parts[1]] += 1
                else:
                    _, what = mutated(texts[file], number, choice)
                    print(f"{file}:{line}: {what}", flush=True)
                if tried.total() % 20 == 0:
                    print(f"{found.total()} of {tried.total()}", file=sys.stderr, flush=True)
    for room, count in sorted(tried.items()):
        print(f"{room}: {found[room]} of {count}")
    print(f"{found.total()} of {tried.total()} mutants were found")
    return 0 if found.total() >= WANTED * tried.total() else 1


if __name__ == "__main__":
    sys.exit(main())
