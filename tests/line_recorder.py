"""Which lines of the toolkit each test runs, itself and in the processes that it starts.

A plugin of pytest (`-p line_recorder`) for tests/mutate.py, which also has every Python that a test
starts call `start`. $DOCKERC_LINES names the directory of what is found: of each process a file
of lines by test or fixture, and tests.json with the fixtures and the seconds of each test.
"""

from __future__ import annotations

import atexit
import inspect
import json
import os
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

_DIRECTORY, _KEY = "DOCKERC_LINES", "DOCKERC_LINES_KEY"
_TOOLKIT = str(Path(__file__).resolve().parent.parent / "toolkit") + "/"

_PATIENCE = 10_000
"""Lines of a function that brought nothing new, after which a long loop is left alone."""

Lines = dict[str, dict[str, set[int]]]
"""By test or fixture, by file."""


class LineRecorder:
    """Notes each line of a function of the toolkit, once for each key."""

    def __init__(self, key: str) -> None:
        self.lines: Lines = defaultdict(lambda: defaultdict(set))
        self.key = ""
        self.switch(key)

    def start(self) -> None:
        atexit.register(self.write)
        threading.settrace(self._call)
        sys.settrace(self._call)

    def switch(self, key: str) -> str:
        """What is run from now on belongs to another test or fixture. Returns the one before."""
        before, self.key = self.key, key
        os.environ[_KEY] = key
        self._current = self.lines[key]
        self._pending: dict[CodeType, set[int]] = {}
        self._idle: dict[CodeType, int] = defaultdict(int)
        return before

    def write(self) -> None:
        sys.settrace(None)
        found = {
            key: {name.removeprefix(_TOOLKIT): sorted(lines) for name, lines in files.items()}
            for key, files in self.lines.items()
        }
        with tempfile.NamedTemporaryFile(
            "w", dir=os.environ[_DIRECTORY], prefix="lines-", delete=False
        ) as file:
            json.dump(found, file)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        # What runs when a module is imported is not a test's.
        if not (code.co_flags & inspect.CO_OPTIMIZED and code.co_filename.startswith(_TOOLKIT)):
            return None
        pending = self._pending.get(code)
        if pending is None:
            pending = {line for _, _, line in code.co_lines() if line}
            self._pending[code] = pending
            self._current[code.co_filename].add(code.co_firstlineno)
        pending.discard(code.co_firstlineno)
        return self._line if pending else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        pending = self._pending.get(code)
        if not pending:
            return None
        if frame.f_lineno in pending:
            pending.discard(frame.f_lineno)
            self._current[code.co_filename].add(frame.f_lineno)
            self._idle[code] = 0
        else:
            self._idle[code] += 1
            if self._idle[code] > _PATIENCE:
                pending.clear()
        return self._line


_recorder: LineRecorder | None = None
_tests: dict[str, Any] = {}
_inner: list[float] = []
"""Seconds of fixtures within the fixture or test that is run."""


def start() -> None:
    """In a process that a test has started."""
    LineRecorder(os.environ[_KEY]).start()


def pytest_configure() -> None:
    global _recorder
    _recorder = LineRecorder("")
    _recorder.start()


def _fixture(definition: pytest.FixtureDef[Any]) -> str:
    return f"{definition.baseid}::{definition.argname}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Function) -> Generator[None, object, object]:
    assert _recorder
    _recorder.switch(item.nodeid)
    began, _inner[:] = time.monotonic(), [0.0]
    try:
        return (yield)
    finally:
        known = item._fixtureinfo.name2fixturedefs.values()
        _tests.setdefault(item.nodeid, {}).update(
            fixtures=[_fixture(definition) for several in known for definition in several],
            seconds=time.monotonic() - began - _inner[0],
        )
        _recorder.switch("")


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
    assert _recorder
    before = _recorder.switch(_fixture(fixturedef))
    began = time.monotonic()
    _inner.append(0.0)
    try:
        return (yield)
    finally:
        seconds = time.monotonic() - began
        own = _tests.setdefault(_fixture(fixturedef), {"fixtures": [], "seconds": 0.0})
        own["seconds"] = max(own["seconds"], seconds - _inner.pop())
        _inner[-1] += seconds
        _recorder.switch(before)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test that was skipped or failed finds nothing."""
    if not report.passed:
        _tests.setdefault(report.nodeid, {})["skipped"] = True


def pytest_sessionfinish() -> None:
    Path(os.environ[_DIRECTORY], "tests.json").write_text(json.dumps(_tests))
