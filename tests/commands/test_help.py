"""What a user reads: help, man pages, completion."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import FIXTURES, TESTS, dockerc, failed, need

from toolkit.cli import COMMANDS as TABLE

DOCS = TESTS.parent / "docs"
COMMANDS = (
    "build", "inspect", "ls", "cat", "extract", "replace", "edit", "verify", "diff", "run", "cp",
    "shell", "images", "history",
)  # fmt: skip
REGISTRIES = ("login", "logout", "tags", "push", "pull", "update")


@pytest.mark.parametrize("command", (*COMMANDS, *REGISTRIES))
def test_help_has_an_example(command: str) -> None:
    told = dockerc(command, "--help").stdout
    assert f"dockerc {command} " in told.split("Arguments:")[0].split("\n", 1)[1]
    assert "[[" not in told


def test_help_names_every_command_and_the_exit_statuses() -> None:
    told = dockerc("--help").stdout
    assert all(f"  {command} " in told for command in TABLE)
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
    assert [c for c in COMMANDS if not re.search(rf"\n    \$ .*dockerc {c}\b", shown)] == ["build"]
    building = (DOCS / "building.md").read_text()
    assert [c for c in REGISTRIES if f"dockerc {c} " not in building] == []
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
    [
        ("dockerc ins", "inspect"),
        ("dockerc extract --oc", "--oci"),
        ("dockerc v", "verify"),
        ("dockerc build --arch a", "arm64"),
        ("dockerc replace --arch a", "arm64"),
        ("dockerc run -e A=1 --tm", "--tmpfs"),
        ("dockerc run --q", "--quiet"),
    ],
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


def test_what_follows_the_image_is_not_completed() -> None:
    asked = {"_DOCKERC_COMPLETE": "complete_bash", "COMP_WORDS": "dockerc run image --tm",
             "COMP_CWORD": "3"}  # fmt: skip
    code = "import sys; sys.argv[0] = 'dockerc'; from toolkit.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True
    )
    assert "--tmpfs" not in done.stdout


def test_the_old_name_of_replace(hello: Path, tmp_path: Path) -> None:
    dockerc("replace-runtime", hello, tmp_path / "new")
    assert (tmp_path / "new").read_bytes() == hello.read_bytes()


def test_version() -> None:
    assert re.fullmatch(r"dockerc \d+\.\d+\.\d+\n", dockerc("version").stdout)
    assert dockerc("--version").stdout == dockerc("version").stdout


def test_help_of_a_command() -> None:
    for words in (["build"], ["cache", "ls"], ["run"], []):
        assert dockerc("help", *words).stdout == dockerc(*words, "--help").stdout
    assert failed("help", "buidl", status=2).endswith("did you mean build?")
    assert "no such command" in failed("help", "cache", "nothing", status=2)
    assert "cat has no commands" in failed("help", "cat", "x", status=2)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("build --outptu x", "--output"),
        ("build --emv A=1 x", "--env"),
        ("build --no-tls-verfy x", "--no-tls-verify"),
        ("ls --rec x", "--recursive"),
        ("ls --lnog x", "--long"),
        ("cache ls --jsno", "--json"),
        ("cache prnue", "prune"),
        ("verify --refrence=x y", "--reference"),
        ("--verison", "--version"),
        ("buidl x", "build"),
        ("run --evn A=1 x", "--env"),
        ("run -e A=1 --quite x", "--quiet"),
        ("diff --hlep", "--help"),
    ],
)
def test_what_was_probably_meant(words: str, meant: str) -> None:
    """Of a command and of an option alike, in one sentence."""
    assert failed(*words.split(), status=2).endswith(f"did you mean {meant}?")


def test_a_wrong_command_line_is_one_sentence() -> None:
    for words, said in {
        "ls": "missing argument 'APP|IMAGE'; see `dockerc ls --help`",
        "ls -x y": "no such option: -x; see `dockerc ls --help`",
        "cache ls a": "got unexpected extra argument(s) (a); see `dockerc cache ls --help`",
        "build --output": "option '--output' requires an argument; see `dockerc build --help`",
        "nothing-like-it": "no such command 'nothing-like-it'; see `dockerc --help`",
    }.items():
        done = dockerc(*words.split(), check=False)
        assert (done.returncode, done.stderr) == (2, f"dockerc: {said}\n")


def test_own_options_of_run_stand_anywhere_before_the_image() -> None:
    hello = f"oci:{FIXTURES}/hello"
    for words in (["-q"], ["--env", "A=1", "--quiet"], ["-e", "-q", "--quiet"]):
        done = dockerc("run", *words, hello)
        assert done.stdout.startswith("Hello") and done.stderr == ""
    done = dockerc("run", hello, "args", "-q", "--quiet", check=False)
    assert "--quiet" in done.stdout


def test_man_pages_have_the_statuses_of_their_command() -> None:
    def page(name: str) -> str:
        return (DOCS / "man" / f"dockerc-{name}.1").read_text()

    assert "differ" in page("diff") and "Faults" in page("verify")
    assert not [name for name in ("build", "ls", "verify", "cache-ls") if "differ" in page(name)]
    run = page("run")
    assert ".SH OPTIONS\n" in run and ".SH OPTIONS OF THE EXECUTABLE\n" in run
    assert "\\-\\-no\\-tls\\-verify" in page("build")
    assert "\\-\\-keep" in page("cache-prune")
