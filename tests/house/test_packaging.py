"""What is installed: one wheel for all hosts, and a tool that starts at once on any of them."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from support import TESTS

from toolkit.version import __version__

ROOT = TESTS.parent


def run_python(code: str) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_pure_wheel_holds_both_stubs_and_their_licence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for machine, number in (("x86_64", 62), ("aarch64", 183)):
            stub = archive.read(f"toolkit/stub/{machine}")
            assert stub[:4] == b"\x7fELF" and stub[18] == number
            assert len(stub) <= 777 << 10
        modules = [str(file.relative_to(ROOT)) for file in (ROOT / "toolkit").rglob("*.py")]
        assert {*modules, "toolkit/py.typed"} <= set(names)
        licences = [name for name in names if "licenses/" in name]
        assert any("runtimes/LICENSE" in name for name in licences)
        assert not [name for name in names if name.startswith(("tests/", "bench/", "runtimes/"))]


def test_the_package_is_a_program_too() -> None:
    command = [sys.executable, "-m", "toolkit", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, f"dockerc {__version__}\n"), done.stderr


def test_help_loads_nothing_heavy() -> None:
    heavy = "{'requests', 'rich', 'zstandard', 'lief', 'PySquashfsImage', 'tabulate', 'pydantic'}"
    code = f"""
import sys
from toolkit.cli import main
sys.argv = ["dockerc", "--help"]
try:
    main()
except SystemExit:
    pass
print("loaded:", sorted({heavy} & set(sys.modules)))
"""
    assert "loaded: []" in run_python(code)


def test_nothing_of_posix_is_needed_to_import_the_builder() -> None:
    code = """
import sys
for name in ("fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "posix_ipc", "syslog"):
    sys.modules[name] = None  # as on Windows
import importlib, pathlib
for path in sorted(pathlib.Path("toolkit").rglob("*.py")):
    importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
print("imported")
"""
    assert run_python(code) == "imported\n"
