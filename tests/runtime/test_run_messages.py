"""Where a machine lacks something: the cause, in one sentence, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from images_support import hello_program
from layout import file, tar_of, write_layout
from support import Runner, dockerc

PRIVATE = ["unshare", "-m", "--propagation", "private", "sh", "-c"]


def sentence(run: Runner, script: str, app: Path) -> str:
    """What is said, where the start must fail."""
    done = run("sh", "-c", script, "sh", app)
    assert (done.returncode, done.stdout) == (125, ""), done
    (line,) = done.stderr.splitlines()
    return str(line)


def test_few_files_may_be_open(run: Runner, hello: Path) -> None:
    for limit in (4, 8, 12, 23):
        told = sentence(run, f'ulimit -n {limit}; exec "$1"', hello)
        assert f"at most {limit} files may be open here (ulimit -n); a start needs 24" in told
    assert run("sh", "-c", 'ulimit -n 24; exec "$1"', "sh", hello).returncode == 0


def test_little_memory_may_be_mapped(run: Runner, hello: Path) -> None:
    assert "out of memory (or ulimit -v)" in sentence(run, 'ulimit -v 20000; exec "$1"', hello)


def test_an_incomplete_file(run: Runner, hello: Path, shared: Path) -> None:
    whole = hello.read_bytes()
    for size in (len(whole) - 8, len(whole) - 4096):
        cut = shared / "cut"
        cut.write_bytes(whole[:size])
        cut.chmod(0o755)
        told = sentence(run, 'exec "$1"', cut)
        assert "incomplete" in told and "compare its size and checksum" in told


@pytest.mark.root("the rights of root are taken from it")
def test_root_without_rights_is_not_told_to_be_root(hello: Path) -> None:
    run = Runner(as_root=True)
    bare = "exec setpriv --bounding-set -all --inh-caps -all"
    told = sentence(run, f'{bare} "$1"', hello)
    assert "root without capabilities" in told and "as root" not in told


@pytest.mark.root("it unmounts /proc, in a mount namespace of its own")
def test_no_proc(hello: Path) -> None:
    done = Runner(as_root=True)(*PRIVATE, 'umount -l /proc; exec "$1"', "sh", hello)
    assert done.returncode == 125 and "/proc is not mounted" in done.stderr


def test_an_image_without_a_command(run: Runner, shared: Path) -> None:
    layout = write_layout(shared / "layout", [tar_of(file("sh", hello_program(), mode=0o755))], {})
    dockerc("build", f"oci:{layout}", "-o", shared / "app")
    assert "the image has no command: give one" in sentence(run, 'exec "$1"', shared / "app")
    assert run(shared / "app", "/sh", "exit", "3").returncode == 3
