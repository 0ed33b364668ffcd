"""A pytest (`-p mutant_server`) that collects its tests once and forks for each mutant.

tests/mutate.py writes a line of JSON for each to the first pipe of $DOCKERC_MUTANTS, and reads
`true` from the second if a test failed or did not end. The fork has the code of the changed
function exchanged; what it starts reads the changed file. A change to what a module does when it is
imported is tried in a process of its own.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import inspect
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import cache_from_source
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
from mutations import mutated

PIPES = "DOCKERC_MUTANTS"
_MEMORY = 4 << 30
"""Bytes that a mutant may ask for, lest one that never ends takes the machine."""


def pytest_runtestloop(session: pytest.Session) -> bool:
    """In place of running what was collected."""
    requests, answers = map(int, os.environ[PIPES].split(","))
    items = {item.nodeid: item for item in session.items}
    with os.fdopen(requests) as source, os.fdopen(answers, "w") as target:
        for line in source:
            request = json.loads(line)
            tests = [items[name] for name in request.pop("tests") if name in items]
            target.write(json.dumps(_is_found(session, tests, **request)) + "\n")
            target.flush()
    return True


def _is_found(
    session: pytest.Session, tests: list[pytest.Item], file: str, change: list[int], seconds: float
) -> bool:
    place = Path(file)
    text = place.read_text()
    tree, _ = mutated(text, *change)
    functions = _changed_functions(text, tree, file)
    # Bytecode is told from its source by size and second: both may be a mutant's, too.
    Path(cache_from_source(file)).unlink(missing_ok=True)
    place.write_text(ast.unparse(tree))
    try:
        if functions is None:
            return not _ends_well(lambda: _run_anew(tests), seconds)
        return not _ends_well(lambda: _run(session, tests, functions), seconds)
    finally:
        place.write_text(text)


def _ends_well(work: Callable[[], bool], seconds: float) -> bool:
    """Whether it says so in time, in a fork whose temporary files and processes go afterwards."""
    with tempfile.TemporaryDirectory(
        prefix="dockerc-mutant-", ignore_cleanup_errors=True
    ) as directory:
        os.chmod(directory, 0o755)  # noqa: PTH101
        child = os.fork()
        if not child:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            tempfile.tempdir = os.environ["TMPDIR"] = directory
            with contextlib.suppress(BaseException):
                os._exit(0 if work() else 1)
            os._exit(1)
        end = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid or time.monotonic() > end:
                break
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        if not pid:
            os.waitpid(child, 0)
        return bool(pid) and status == 0


def _run(
    session: pytest.Session, tests: list[pytest.Item], functions: dict[CodeType, CodeType]
) -> bool:
    for function in gc.get_objects():
        if type(function) is FunctionType and (code := functions.get(function.__code__)):
            function.__code__ = code
    for item, following in zip(tests, [*tests[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return False
    return True


def _run_anew(tests: list[pytest.Item]) -> bool:
    with tempfile.NamedTemporaryFile("w") as names:
        names.write("\n".join(item.nodeid for item in tests))
        names.flush()
        options = ["-qx", "-p", "no:cacheprovider", "--hypothesis-seed=1"]
        command = [sys.executable, "-m", "pytest", *options, f"@{names.name}"]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.run(command, **quiet).returncode == 0


def _changed_functions(text: str, tree: Any, file: str) -> dict[CodeType, CodeType] | None:
    """The code of functions, old to new; None when more than these has changed."""
    old, new = (compile(source, file, "exec", dont_inherit=True) for source in (text, tree))
    if _outside(old) != _outside(new):
        return None
    pairs = zip(_functions(old), _functions(new), strict=True)
    return {before: after for before, after in pairs if before != after}


def _functions(code: CodeType) -> Iterator[CodeType]:
    """Those of a module and its classes, without what is within functions."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & inspect.CO_OPTIMIZED:
                yield constant
            else:
                yield from _functions(constant)


def _outside(code: CodeType) -> list[Any]:
    """What a module and its classes do themselves."""
    return [
        code.co_code,
        code.co_names,
        *(
            _outside(constant)
            if isinstance(constant, CodeType) and not constant.co_flags & inspect.CO_OPTIMIZED
            else None
            if isinstance(constant, CodeType)
            else (type(constant), constant)
            for constant in code.co_consts
        ),
    ]
