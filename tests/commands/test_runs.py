"""`dockerc ps`, `exec`, `stop` and `logs`: the runs of all executables."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import BinaryIO

import pytest
from instances_support import User, is_alive
from leftovers import wait_for
from support import TOOL, dockerc, failed

from toolkit.executable.executable import (
    FooterFields,
    copy_payload,
    open_executable,
    write_executable,
)

pytestmark = pytest.mark.root("starts runs as several users")


def listed() -> dict[str, dict[str, object]]:
    return {str(row["name"]): row for row in json.loads(dockerc("ps", "--json").stdout)}


def test_everybody_s_runs(deb: Path, hello: Path, place: Path) -> None:
    copy = place / "a copy of deb"
    if not copy.exists():
        copy.write_bytes(deb.read_bytes())
        copy.chmod(0o755)
    with (
        User("root").running(deb, "--name", "roots", "sleep", "60") as roots,
        User("root").running(copy, "--name", "copied", "sleep", "60") as copied,
        User("sub-ids").running(deb, "--name", "theirs", "sleep", "60") as theirs,
        User("one id").running(deb, "sleep", "60") as unnamed,
    ):
        rows = listed()
        assert {"roots", "copied", "theirs", unnamed.name} <= set(rows)
        for row, file in ((roots, deb), (copied, copy), (theirs, deb), (unnamed, deb)):
            found = rows[row.name]
            assert (found["pid"], found["app"], found["user"]) == (row.pid, row.app, row.user)
            assert (found["command"], found["file"]) == ("sleep 60", str(file))
        table = dockerc("ps").stdout
        assert table.splitlines()[0].split()[:3] == ["name", "pid", "app"]
        assert "theirs" in table
        # An ordinary user sees their own.
        tool = User("sub-ids").command(*TOOL, "ps", "--json")
        seen = subprocess.run(tool, capture_output=True, text=True, cwd="/", env={})
        if seen.returncode == 0:  # where the interpreter is one that they may start
            rows_of_deb = [row for row in json.loads(seen.stdout) if row["file"] == str(deb)]
            assert [row["name"] for row in rows_of_deb] == ["theirs"]


def test_a_run_whose_file_is_gone(deb: Path, place: Path) -> None:
    file = place / "short-lived"
    file.write_bytes(deb.read_bytes())
    file.chmod(0o755)
    with User("root").running(file, "--name", "gone", "sleep", "60"):
        file.unlink()
        assert listed()["gone"]["file"] == str(file)
        assert dockerc("exec", "gone", "id", "-u").stdout == "0\n"


def test_an_older_runtime_is_not_started(deb: Path, place: Path) -> None:
    """It would take the question for the program's."""
    older = place / "older"
    older.write_bytes(deb.read_bytes().replace(b"dockerc-ps", b"dockerc-xx"))
    older.chmod(0o755)
    with subprocess.Popen([older, "--name", "older", "sleep", "60"]) as process:
        try:

            def told() -> str:
                return str(dockerc("ps").stderr)

            assert wait_for(lambda: f"{older} runs with an older runtime: replace it" in told())
            assert "older" not in listed()
            assert "replace it first" in failed("exec", "older", "true")
        finally:
            process.kill()


def test_exec(deb: Path) -> None:
    with User("root").running(deb, "--name", "for-exec", "-e", "A=1", "sleep", "60") as row:
        for name in ("for-exec", str(row.pid), str(row.app)):
            assert dockerc("exec", name, "sh", "-c", "echo $A").stdout == "1\n"
        words = ["-e", "A=2", "--env=B=3", "-w", "/tmp", "-it", "-u", "daemon", "for-exec"]
        done = dockerc("exec", *words, "sh", "-c", 'echo $A $B; pwd; id -u; echo "$@"', "-", "-e")
        assert done.stdout == "2 3\n/tmp\n1\n-e\n"
        assert dockerc("exec", "for-exec", "sh", "-c", "exit 7", check=False).returncode == 7
        assert "name a run and a command" in failed("exec", "for-exec", status=2)
    assert "no run is called for-exec" in failed("exec", "for-exec", "true")


def test_names_that_two_have(deb: Path) -> None:
    with (
        User("root").running(deb, "--name", "twice", "sleep", "60") as one,
        User("root").running(deb, "--name", "twice", "sleep", "61") as other,
    ):
        sentence = failed("exec", "twice", "true")
        assert "several runs are called twice" in sentence
        assert str(one.pid) in sentence and str(other.pid) in sentence


def make_hostile(deb: Path, place: Path) -> Path:
    """An executable that writes into hostile.log who asks it for its runs."""
    program = place / "hostile.c"
    program.write_text(
        '#include <unistd.h>\n#include <string.h>\n#include <stdio.h>\n'
        'int main(int n, char **a) {'
        ' if (n > 1 && !strncmp(a[1], "--dockerc-", 10)) {'
        '  FILE *f = fopen("LOG", "a"); fprintf(f, "%d %s %d %d\\n", getuid(), a[1], isatty(0),'
        '   getsid(0) == getpid()); fclose(f);'
        '  printf("NAME\\nmine 1 1 0 1s x\\nmine %d 1 23456 1s x\\n", getppid()); fflush(stdout);'
        '  return 0; }'
        ' pause(); }'.replace("LOG", f"{place}/hostile.log")
    )  # fmt: skip
    stub = place / "hostile-stub"
    subprocess.run(["cc", "-static", "-o", stub, program], check=True)
    file = place / "hostile"
    with open_executable(deb) as executable:

        def write_payload(out: BinaryIO) -> FooterFields:
            copy_payload(executable, out)
            return FooterFields(require_mapped_uids=True, integrity=None)

        write_executable(file, stub.read_bytes() + b"dockerc-ps", write_payload)
    file.chmod(0o755)
    (place / "hostile.log").write_bytes(b"")
    (place / "hostile.log").chmod(0o666)
    return file


def test_a_hostile_user_s_file(deb: Path, place: Path) -> None:
    """Root starts it as its user, without a terminal, and does not wait for ever."""
    file = make_hostile(deb, place)
    with (
        subprocess.Popen(User("one id").command(file)) as process,
        User("root").running(deb, "--name", "mine", "sleep", "60") as mine,
    ):
        try:
            log = place / "hostile.log"
            assert wait_for(lambda: "hostile" in dockerc("ps").stdout and bool(log.read_text()))
            assert listed()["mine"]["user"] in (0, 23456)
            # What it says of its runs hides none of root's, and root starts it as nobody else.
            assert dockerc("exec", "mine", "id", "-u").stdout == "0\n"
            assert dockerc("stop", "-t", "0", "mine").stdout == "mine\n"
            assert wait_for(lambda: not is_alive(mine.app))
            failed("exec", "mine", "id")
            dockerc("stop", "-t", "0", "mine", check=False)
            assert {line.split()[0] for line in log.read_text().splitlines()} == {"23456"}
            assert {line.split(maxsplit=2)[2] for line in log.read_text().splitlines()} == {"0 1"}
        finally:
            process.kill()


@pytest.mark.parametrize("where", ["/tmp", "/shared"])
def test_a_file_that_a_container_wrote(deb: Path, place: Path, where: str) -> None:
    """Started outside, it would have left the container."""
    file = make_hostile(deb, place)
    shared = place / "shared"
    shared.mkdir(exist_ok=True)
    script = f"cat >{where}/app; chmod 755 {where}/app; {where}/app & wait"
    options = ["--name", "writer", "-v", f"{shared}:/shared"]
    with (
        file.open("rb") as stdin,
        User("root").running(deb, *options, "sh", "-c", script, stdin=stdin) as row,
    ):
        assert wait_for(lambda: bool(children := children_of(row.app)) and is_app(children[0]))
        assert "writer" in listed()
        assert "hostile" not in listed() and "mine" not in listed()
        assert (place / "hostile.log").read_text() == ""


def children_of(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def is_app(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name == "app"
    except FileNotFoundError:
        return False


def test_stop(deb: Path) -> None:
    with User("root").running(deb, "--name", "to-stop", "sleep", "60"):
        assert dockerc("stop", "-t", "5", "to-stop").stdout == "to-stop\n"
        assert "to-stop" not in listed()
    assert "no run is called to-stop" in failed("stop", "to-stop")
    with User("sub-ids").running(deb, "--name", "theirs", "sleep", "60"):
        assert "is user" in failed("exec", "theirs", "id")
        assert dockerc("stop", "theirs").stdout == "theirs\n"
        assert "theirs" not in listed()


def test_logs(deb: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    script = "echo one; sleep 1; echo two; sleep 1; echo three"
    words = [deb, "-d", "--name", "logged", "sh", "-c", script]
    assert subprocess.run(words, env=environment, capture_output=True).returncode == 0
    following = dockerc("logs", "-f", "logged", env=environment, timeout=30)
    assert following.stdout == "one\ntwo\nthree\n"
    assert dockerc("logs", "logged", env=environment).stdout == "one\ntwo\nthree\n"
    assert "there is no such log" in failed("logs", "other", env=environment)
    for name in ("../logged", ".x", "", "a/b"):
        assert "no run in the background" in failed("logs", name, status=2, env=environment)
    os.mkfifo(tmp_path / "dockerc/pipe.log")
    assert "it is no regular file" in failed("logs", "pipe", env=environment)
    assert "set HOME or XDG_STATE_HOME" in failed("logs", "logged", env={"HOME": "relative"})
