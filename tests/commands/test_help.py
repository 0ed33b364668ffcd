"""What a user reads: help, man pages, completion."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import FIXTURES, TESTS, dockerc, need

from toolkit.cli import COMMANDS as TABLE

DOCS = TESTS.parent / "docs"
COMMANDS = ("build", "inspect", "ls", "cat", "extract", "replace", "edit", "verify", "diff", "run")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    told = dockerc(command, "--help").stdout
    assert f"dockerc {command} " in told.split("Arguments:")[0].split("\n", 1)[1]
    assert "[[" not in told


def test_help_names_every_command_and_the_exit_statuses() -> None:
    told = dockerc("--help").stdout
    assert all(f"  {command} " in told for command in (*COMMANDS, "cache"))
    assert "Exit status" in told


def loaded_by(*words: str | Path) -> set[str]:
    """The modules that are there when the tool has done this."""
    code = "import sys; from toolkit.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True)
    return set(done.stdout.decode().split())


def test_a_command_imports_what_it_needs_alone(hello: Path, tmp_path: Path) -> None:
    """A tenth of a second to start would be a third of the time to take out a gigabyte."""
    loaded = loaded_by("extract", hello, tmp_path / "out")
    commands = [name for name in TABLE if f"toolkit.commands.{name}" in loaded]
    assert commands == ["extract"]
    large = {"lief", "zstandard", "PySquashfsImage", "requests", "tabulate", "rich"}
    assert large.isdisjoint(loaded)


def test_a_build_imports_its_own_transport_alone(hello: Path, tmp_path: Path) -> None:
    """More than half of the time that a small image takes goes into imports."""
    words = ["build", "-q", f"oci:{FIXTURES}/hello", "-o", tmp_path / "app"]
    loaded = loaded_by(*words, "--no-cache")
    others = {
        "toolkit.images.transports.registry.image",
        "toolkit.images.transports.docker_archive",
        "toolkit.images.transports.tarball",
    }
    large = {"lief", "PySquashfsImage", "requests", "ssl", "http", "tarfile", "tabulate", "rich"}
    assert (others | large).isdisjoint(loaded)
    cached = loaded_by(*words)
    assert {"toolkit.layers.packer", "toolkit.layers.stream", "isal"} <= loaded - cached


def test_the_man_pages_are_what_help_says() -> None:
    sys.path.insert(0, str(DOCS))
    try:
        from man import configuration_page, pages  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(DOCS))
    written = {path.name: path.read_text() for path in (DOCS / "man").iterdir()}
    assert written == pages(), "run `python docs/man.py`"
    (path,) = (DOCS / "man5").iterdir()
    assert (path.name, path.read_text()) == ("dockerc-config.5", configuration_page())


def test_man_has_nothing_to_complain_of() -> None:
    need("man")
    for page in (DOCS / "man").iterdir():
        done = subprocess.run(
            ["man", "--warnings", "-l", page], capture_output=True, text=True,
            env=os.environ | {"LC_ALL": "C.UTF-8", "MANPAGER": "cat"},
        )  # fmt: skip
        assert done.returncode == 0 and done.stderr == "", page
        assert "EXIT STATUS" in done.stdout


def test_the_docs_show_each_command() -> None:
    shown = (DOCS / "taking-apart.md").read_text()
    assert [c for c in COMMANDS if f"\n    $ dockerc {c} " not in shown] == ["build"]
    readme = (DOCS.parent / "README.md").read_text()
    assert "\n    dockerc build --image " in readme
    assert len(readme.splitlines()) < 150


def test_no_link_of_the_docs_leads_nowhere() -> None:
    root = DOCS.parent
    for page in [*root.glob("*.md"), *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)[^):]*\)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("words", "expected"),
    [("dockerc ins", "inspect"), ("dockerc extract --oc", "--oci"), ("dockerc v", "verify")],
)
def test_completion(words: str, expected: str, shell: str) -> None:
    code = "import sys; sys.argv[0] = 'dockerc'; from toolkit.cli import main; main()"
    asked = {"_DOCKERC_COMPLETE": f"complete_{shell}", "COMP_WORDS": words,
             "COMP_CWORD": str(len(words.split()) - 1), "_TYPER_COMPLETE_ARGS": words,
             "_TYPER_COMPLETE_FISH_ACTION": "get-args"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True
    )
    offered = re.findall(r"(?:--)?\w+", done.stdout)
    assert expected in offered and "diff" not in offered, done.stderr


def test_the_old_name_of_replace(hello: Path, tmp_path: Path) -> None:
    dockerc("replace-runtime", hello, tmp_path / "new")
    assert (tmp_path / "new").read_bytes() == hello.read_bytes()
