"""Ways out of a container that others have had, tried on ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from images_support import hello_program
from layout import directory, file, symlink, tar_of, write_layout
from support import Runner, dockerc


@pytest.fixture
def app(shared: Path) -> Path:
    """The fixture's program, and links to every descriptor that a runtime may hold."""
    links = [symlink(f"w{number}", f"/proc/self/fd/{number}") for number in range(20)]
    layer = tar_of(
        directory("bin"), directory("proc"), file("bin/hello", hello_program(), mode=0o755), *links
    )
    layout = write_layout(shared / "layout", [layer], {"Entrypoint": ["/bin/hello"]})
    dockerc("build", f"oci:{layout}", "-o", shared / "app", "--args", "docker")
    return shared / "app"


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_no_working_directory_leads_to_the_machine(
    app: Path, run: Runner, shared: Path, init: list[str]
) -> None:
    (shared / "secret").write_text("of the machine")
    (shared / "secret").chmod(0o644)
    relative = str(shared / "secret").lstrip("/")
    for number in range(3, 20):
        for where in (f"/proc/self/fd/{number}", f"/w{number}", f"/proc/1/fd/{number}"):
            done = run(app, *init, "-w", where, "cat", relative)
            assert "of the machine" not in done.stdout, where
            assert done.returncode != 0, where


def test_the_init_process_holds_nothing_of_the_machine(deb: Path, run: Runner) -> None:
    listed = run(deb, "--init", "--cap-add", "SYS_PTRACE", "ls", "-l", "/proc/1/fd").stdout
    assert " -> /" not in listed, listed


def test_words_of_the_payload_cannot_steer_the_terminal(run: Runner, shared: Path) -> None:
    layout = write_layout(shared / "l", [tar_of(file("a"))], {"Cmd": ["/\x1b]0;owned\x07\x1b[2J"]})
    dockerc("build", f"oci:{layout}", "-o", shared / "app", "--args", "docker")
    done = run(shared / "app")
    assert done.returncode == 127
    assert "\x1b" not in done.stderr and "\x07" not in done.stderr and "owned" in done.stderr
