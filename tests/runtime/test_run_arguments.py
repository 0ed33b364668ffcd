"""Whose the words of the command line are: the program's, or options as for docker run first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import FIXTURES, Runner, dockerc, failed

HELLO = f"oci:{FIXTURES}/hello"


@pytest.fixture(scope="module")
def tool(place: Path) -> Path:
    """An image with an entrypoint, which prints its arguments, a line each."""
    dockerc("build", HELLO, "-o", place / "tool", "--entrypoint", "/bin/hello args")
    return place / "tool"


@pytest.mark.parametrize(
    "words",
    [
        ["-i", "in.mp4", "out.gif"],
        ["-r", ".a"],
        ["-v", "x"],
        ["--version"],
        ["--help"],
        ["-e", "A=1"],
        ["--rm", "x"],
        ["--name", "x"],
        ["--dockerc"],
        ["x", "--dockerc-version"],
        ["--", "-x"],
        ["-i", "--", "x"],
        ["-it", "--rm", "--name", "a", "--", "x"],
        ["-e", "word", "--", "x"],
        ["-v", "--", "x"],
        ["-v", "-i", "--", "x"],
        ["x", "-w", "/", "--", "x"],
        ["--unknown", "-w", "/", "--", "x"],
        ["-w"],
        [""],
    ],
)
def test_every_word_is_the_tool_s(run: Runner, tool: Path, words: list[str]) -> None:
    done = run(tool, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "".join(f"{word}\n" for word in words)


def test_options_that_two_dashes_end(run: Runner, tool: Path, shared: Path) -> None:
    (shared / "note").write_text("from outside\n")
    assert run(tool, "-v", ".:/w", "--", "-i", "in", cwd=shared).stdout == "-i\nin\n"
    through = ["-it", "-v", ".:/w", "--entrypoint", "/bin/hello", "--"]
    assert run(tool, *through, "cat", "/w/note", cwd=shared).stdout == "from outside\n"
    told = run(tool, "--env", "A", "-eB=2", "--entrypoint=/bin/hello", "--", "env", env={"A": "1"})
    assert {"A=1", "B=2"} <= set(told.stdout.splitlines())
    assert run(tool, "-w", "/", "--", "-w", "/", "--").stdout == "-w\n/\n--\n"
    refused = run(tool, "-w", "/", "--network", "bridge", "--", "x")
    assert refused.returncode == 125 and "--network" in refused.stderr


def test_options_of_the_environment(run: Runner, tool: Path, shared: Path) -> None:
    (shared / "note").write_text("from outside\n")
    options = {"DOCKERC_ARGS": "-v .:/w --entrypoint=/bin/hello"}
    assert run(tool, "cat", "/w/note", cwd=shared, env=options).stdout == "from outside\n"
    wrong = run(tool, "x", env={"DOCKERC_ARGS": "--frob"})
    assert wrong.returncode == 125 and "unknown option --frob" in wrong.stderr


def test_options_about_the_file(run: Runner, tool: Path) -> None:
    assert run(tool, "--dockerc-version", "x").stdout.startswith("dockerc runtime ")
    config = json.loads(run(tool, "--dockerc-inspect").stdout)
    assert config["annotations"]["dev.dockerc.args"] == "program"
    wrong = run(tool, "--dockerc-frob")
    assert wrong.returncode == 125 and "unknown option --dockerc-frob" in wrong.stderr


def test_the_rule_is_chosen_at_build_and_shown(run: Runner, shared: Path, tool: Path) -> None:
    made = dockerc("build", HELLO, "-o", shared / "app", "--args", "docker").stderr
    assert made.splitlines()[-1] == (
        f"usage: {shared}/app OPTION... ARGUMENT..., options of docker run first"
    )
    assert "BAKED=1" in run(shared / "app", "-e", "BAKED=1", "env").stdout
    assert dockerc("inspect", "-f", "{{.Image.ArgsRule}}", shared / "app").stdout == "docker\n"
    assert "OPTION...] [--]" in run(shared / "app", "--dockerc-help").stdout

    dockerc("edit", shared / "app", shared / "new", "--args", "program")
    assert run(shared / "new", "args", "-e", "A=1").stdout == "-e\nA=1\n"
    assert dockerc("inspect", "-f", "{{.Image.ArgsRule}}", shared / "new").stdout == "program\n"
    assert "every argument is the program's" in run(tool, "--dockerc-help").stdout
    made = dockerc("build", HELLO, "-o", shared / "app").stderr.splitlines()[-1]
    assert made.startswith(f"usage: {shared}/app ARGUMENT..., or {shared}/app OPTION... -- ")
    assert "--args docker or --args program" in failed(
        "build", HELLO, "-o", shared / "b", "--args", "podman", status=2
    )


def test_without_an_entrypoint_options_come_first(run: Runner, shared: Path, tool: Path) -> None:
    plain = ["--entrypoint", "[]", "--cmd", "/bin/hello env"]
    dockerc("build", HELLO, "-o", shared / "app", *plain)
    assert "A=1" in run(shared / "app", "-e", "A=1").stdout.splitlines()
    # An edit that makes it a tool, and one that does not.
    dockerc("edit", shared / "app", shared / "as-tool", "--entrypoint", "/bin/hello args")
    assert run(shared / "as-tool", "-e", "A=1").stdout == "-e\nA=1\n"
    dockerc("edit", tool, shared / "still", "-e", "A=1")
    assert run(shared / "still", "-i", "x").stdout == "-i\nx\n"


def test_an_ignored_option_before_what_is_no_program(run: Runner, deb: Path) -> None:
    done = run(deb, "-i", "in.mp4", "out.gif")
    assert done.returncode == 127 and "-i was taken for docker run's option" in done.stderr
    done = run(deb, "--name", "in.mp4", "out.gif")
    assert "--name was taken for" in done.stderr
    for words in (
        ["-it", "--rm", "echo", "x"],
        ["-i", "--", "echo", "x"],
        ["-i", "/bin/echo", "x"],
    ):
        done = run(deb, *words)
        assert (done.stdout, done.stderr) == ("x\n", "")
    assert run(deb, "--init", "in.mp4").stderr.count("dockerc: ") == 1
