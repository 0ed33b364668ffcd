"""Without user namespaces: what a program sees and does whose paths are translated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import TESTS, Runner
from translated import Translated, translated


@pytest.fixture(scope="module")
def cache() -> Iterator[Path]:
    """Unpacked once for all tests."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o777)
        yield Path(directory)


@pytest.fixture(params=["translate", "translate-stops", "refused"])
def run(request: pytest.FixtureRequest, cache: Path) -> Iterator[Translated]:
    made = translated(request.param, cache)
    yield made
    assert made.left() == []


def sh(run: Translated, app: Path, script: str, *options: str) -> str:
    """What a script writes; it must succeed."""
    done = run(app, *options, "sh", "-c", script)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return str(done.stdout)


def test_the_image_is_the_root(run: Translated, deb: Path) -> None:
    told = sh(run, deb, "cd /usr/bin; pwd; cat /etc/os-release; readlink /proc/self/exe; id -u")
    lines = told.splitlines()
    assert lines[0] == "/usr/bin" and "bookworm" in told
    assert lines[-2:] == ["/usr/bin/readlink", "0"]


def test_a_note_says_that_nothing_is_isolated(run: Translated, deb: Path) -> None:
    done = run(deb, "true", env={"DOCKERC_LOG": ""})
    (line,) = done.stderr.splitlines()
    assert done.returncode == 0 and "not isolated" in line


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 7", 7), ("kill -TERM $$", 143), ("exec /nothing", 127), ("exec /etc/passwd", 126)],
)
def test_exit_statuses_are_the_program_s(
    run: Translated, deb: Path, script: str, status: int
) -> None:
    assert run(deb, "sh", "-c", script).returncode == status


def test_missing_programs_have_docker_s_statuses(run: Translated, deb: Path) -> None:
    assert run(deb, "no-such-program").returncode == 127
    assert run(deb, "/etc/passwd").returncode == 126


def test_writes_are_seen_and_do_not_reach_the_cache(run: Translated, deb: Path) -> None:
    script = (
        "echo changed >/etc/motd; rm /bin/ls; mkdir /srv/new; echo more >>/etc/passwd;"
        " mv /usr/share/doc /usr/share/papers; chmod 600 /etc/group; tail -n1 /etc/passwd;"
        " cat /etc/motd; ls -d /srv/new /usr/share/papers/bash; test ! -e /bin/ls || echo still"
    )
    # Of the script, ls is found no more.
    script = script.replace("ls -d", "echo")
    expected = "more\nchanged\n/srv/new /usr/share/papers/bash\n"
    assert sh(run, deb, script) == expected
    again = "tail -n1 /etc/passwd; ls /bin/ls; stat -c %a /etc/group; ls -d /usr/share/doc/bash"
    told = sh(run, deb, again)
    assert "more" not in told
    assert told.splitlines()[1:] == ["/bin/ls", "644", "/usr/share/doc/bash"]


def test_links_stay_in_the_root(run: Translated, deb: Path) -> None:
    script = (
        "cd /tmp; ln -s ../../../../etc/os-release up; ln -s /etc/os-release absolute;"
        " ln -s loop loop; mkdir -p a/b; ln -s /../.. a/b/out; cat up absolute | grep -c ^ID=;"
        " ls -d a/b/out/etc; cd a/b/out; pwd -P; cat loop 2>/dev/null || echo no;"
        " cd /../..; pwd"
    )
    assert sh(run, deb, script) == "2\na/b/out/etc\n/\nno\n/\n"


def test_forty_links_are_followed(run: Translated, deb: Path) -> None:
    # Of directories: those that are known are counted, too.
    script = (
        "cd /tmp; mkdir l0; echo end >l0/f; for i in $(seq 41); do ln -s l$((i - 1)) l$i; done;"
        " for i in 1 2; do cat l40/f; cat l41/f; done 2>&1 | sed 's/.*: //'"
    )
    assert sh(run, deb, script) == "end\nToo many levels of symbolic links\n" * 2


def test_a_working_directory_that_is_removed(run: Translated, deb: Path) -> None:
    script = (
        "mkdir /tmp/d; cd /tmp/d; rmdir ../d 2>/dev/null || rmdir /tmp/d; ls; stat -c %F .;"
        " for each in 'cat x' 'touch y' 'ls ..'; do $each 2>/dev/null || echo gone; done"
    )
    assert sh(run, deb, script) == "directory\ngone\ngone\ngone\n"


def test_root_may_use_what_nobody_has_a_right_to(run: Translated, deb: Path) -> None:
    script = (
        "cd /tmp; echo a >f; chmod 0 f; cat f; echo b >>f; tail -n1 f; test -r f && test -w f &&"
        " echo may; test -x f || echo not; stat -c %a f; mkdir d; touch d/x; chmod 0 d; ls d;"
        " stat -c %a d"
    )
    if run.how != "translate-stops":
        assert sh(run, deb, script) == "a\nb\nmay\nnot\n0\nx\n0\n"
    done = run(deb, "-u", "33", "--", "sh", "-c", "cd /tmp; echo a >f; chmod 0 f; cat f")
    assert done.returncode == 1 and "Permission denied" in done.stderr


def test_directories_without_rights_do_not_stay(run: Translated, deb: Path) -> None:
    modes = ["0", "100", "200", "300", "400", "500", "600"]
    make = "; ".join(f"mkdir -p {mode}/a/{mode}/b" for mode in modes)
    close = "; ".join(f"chmod {mode} {mode}/a/{mode} {mode}/a {mode}" for mode in modes)
    assert sh(run, deb, f"mkdir /tmp/x; cd /tmp/x; {make}; {close}; ls | wc -l") == "7\n"


def test_no_file_is_made_by_a_name_with_a_slash(run: Translated, deb: Path) -> None:
    script = "cd /tmp; touch f; ln -T f no/; ln -sT f no/; touch no/; mknod no/ p; mkdir yes/; ls"
    done = run(deb, "sh", "-c", script)
    assert done.stdout == "f\nyes\n" and len(done.stderr.splitlines()) == 4, done.stderr


def test_files_are_the_image_s_user_s(run: Translated, deb: Path) -> None:
    script = (
        "touch /tmp/x; stat -c '%u %g' /tmp/x /etc/passwd; chown 5:6 /tmp/x; stat -c %u /tmp/x;"
        " setpriv --reuid 42 --regid 43 --clear-groups id -u"
    )
    assert sh(run, deb, script) == "0 0\n0 0\n5\n42\n"


def test_what_another_user_makes_is_that_user_s(run: Translated, deb: Path) -> None:
    script = (
        "chmod 777 /srv; setpriv --reuid 42 --regid 43 --clear-groups sh -c 'touch /srv/x;"
        " mkdir /srv/d; chown 0 /srv/x 2>/dev/null || echo refused'; stat -c '%u:%g' /srv/x /srv/d;"
        " echo x >>/etc/motd; chown -R 7:8 /usr/share/doc/bash; stat -c %u:%g /usr/share/doc/bash;"
        " rm /srv/x; touch /srv/y; stat -c %u /srv/y /etc/motd"
    )
    assert sh(run, deb, script) == "refused\n42:43\n42:43\n7:8\n0\n0\n"


def test_a_user_of_the_image(run: Translated, deb: Path) -> None:
    done = run(
        deb, "-u", "33:44", "-w", "/tmp", "--", "sh", "-c", "id -u; id -g; pwd; stat -c %u ."
    )
    assert done.stdout == "33\n44\n/tmp\n33\n"


def test_volumes(run: Translated, deb: Path, shared: Path) -> None:
    (shared / "in").write_text("from outside\n")
    options = ("-v", f"{shared}:/data", "-v", f"{shared}:/etc/given:ro", "--")
    script = (
        "cat /data/in; echo out >/data/out; ls /data/../data; cd /data; pwd; ls ../etc/given;"
        " touch /etc/given/no 2>/dev/null || echo read-only"
    )
    told = sh(run, deb, script, *options)
    assert told == "from outside\nin\nout\n/data\nin\nout\nread-only\n"
    assert (shared / "out").read_text() == "out\n"


def test_a_file_as_volume(run: Translated, deb: Path, shared: Path) -> None:
    (shared / "conf").write_text("mine\n")
    (shared / "conf").chmod(0o666)
    script = "cat /etc/my.conf; echo more >>/etc/my.conf; rm /etc/my.conf 2>/dev/null || echo busy"
    told = sh(run, deb, script, "-v", f"{shared}/conf:/etc/my.conf", "--")
    assert told == "mine\nbusy\n"
    assert (shared / "conf").read_text() == "mine\nmore\n"


def test_files_of_etc_and_the_hostname(run: Translated, deb: Path) -> None:
    options = ("-h", "box", "--add-host", "a.test:1.2.3.4", "--dns", "9.9.9.9", "--")
    script = "uname -n; cat /etc/hostname; grep a.test /etc/hosts; cat /etc/resolv.conf"
    told = sh(run, deb, script, *options)
    assert told == "box\nbox\n1.2.3.4\ta.test\nnameserver 9.9.9.9\n"


def test_tmpfs_and_read_only(run: Translated, deb: Path) -> None:
    script = "echo x >/scratch/x; cat /scratch/x; touch /etc/x 2>/dev/null || echo read-only"
    options = ("--read-only", "--tmpfs", "/scratch", "-w", "/made/for/it", "--")
    told = sh(run, deb, script, *options)
    assert told == "x\nread-only\n"


@pytest.mark.parametrize("option", [("--network", "none"), ("--network", "private")])
def test_what_needs_a_namespace_is_refused(
    run: Translated, deb: Path, option: tuple[str, str]
) -> None:
    done = run(deb, *option, "--", "true")
    assert done.returncode == 125 and len(done.stderr.splitlines()) == 1


def test_the_environment(run: Translated, deb: Path, shared: Path) -> None:
    (shared / "env").write_text("B=two\n")
    script = "echo $A $B $HOME"
    options = ("-e", "A=one", "--env-file", f"{shared}/env", "--entrypoint", "", "--")
    assert sh(run, deb, script, *options) == "one two /root\n"


def test_scripts_and_their_interpreters(run: Translated, deb: Path) -> None:
    script = (
        "cd /tmp; printf '#!/bin/sh -e\\necho $0 $1 $2\\n' >a; printf '#!/tmp/a x\\n' >b;"
        " printf '#!/nowhere\\n' >c; chmod +x a b c; ./a 1 2; /tmp/b 3; ./c 2>/dev/null; echo $?"
    )
    assert sh(run, deb, script) == "./a 1 2\n/tmp/a x /tmp/b\n127\n"


def test_pipelines_and_many_processes(run: Translated, deb: Path) -> None:
    cats = " | ".join(["cat"] * 20)
    assert sh(run, deb, f"seq 1 1000 | {cats} | tail -n1") == "1000\n"
    script = "i=0; while [ $i -lt 1000 ]; do (exit 0); i=$((i+1)); done; echo $i"
    assert sh(run, deb, script) == "1000\n"
    script = "for i in $(seq 100); do /bin/true; done; for i in $(seq 50); do true & done; wait"
    assert sh(run, deb, script) == ""


def test_links_of_proc(run: Translated, deb: Path) -> None:
    script = (
        "exec 3</etc/passwd; readlink /proc/self/fd/3 /proc/self/cwd /proc/self/root /proc/$$/exe;"
        " echo x | cat /dev/stdin; head -c 4 /proc/self/fd/3; echo; cat /proc/self/comm;"
        " ls /proc/1/root/etc 2>/dev/null || echo refused"
    )
    told = sh(run, deb, script, "-w", "/usr", "--")
    expected = "/etc/passwd\n/usr\n/\n/usr/bin/dash\nx\nroot\ncat\nrefused\n"
    assert told == expected


def test_hard_links_and_renames(run: Translated, deb: Path) -> None:
    script = (
        "cd /tmp; echo a >x; ln x y; echo b >>y; cat x; stat -c %h x; ln /etc/passwd z;"
        " echo c >>z; tail -n1 z; tail -n1 /etc/passwd; mkdir -p d/e; mv d f; ls f; rmdir /usr"
        " 2>/dev/null || echo full; rm -rf /usr/share/doc; test -e /usr/share/doc || echo gone"
    )
    told = sh(run, deb, script).splitlines()
    assert told[:4] == ["a", "b", "2", "c"] and told[-3:] == ["e", "full", "gone"]
    assert "bash" in told[4] or "nologin" in told[4]


def test_deep_paths(run: Translated, deb: Path) -> None:
    script = (
        "cd /tmp; i=0; while [ $i -lt 200 ]; do mkdir deeper-and-deeper && cd deeper-and-deeper ||"
        " exit 1; i=$((i+1)); done; echo x >file; cat file; cd ..; ls deeper-and-deeper"
    )
    assert sh(run, deb, script) == "x\nfile\n"


def test_a_pipe_with_a_name(run: Translated, deb: Path) -> None:
    script = "mkfifo /tmp/p; (sleep 0.2; echo through >/tmp/p) & cat /tmp/p; wait"
    assert sh(run, deb, script) == "through\n"


def test_standard_input_is_the_caller_s(run: Translated, deb: Path, shared: Path) -> None:
    (shared / "given").write_text("one\ntwo\n")
    with (shared / "given").open() as given:
        done = run(deb, "sh", "-c", "read x; echo $x; cat", stdin=given)
    assert done.stdout == "one\ntwo\n"
    assert run(deb, "cat", input="piped").stdout == "piped"


def start(
    run: Translated, app: Path, script: str, first: str = ":", options: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    """A run that has said that it is ready, after its first command."""
    process = subprocess.Popen(
        run.command(app, *options, "sh", "-c", f"{first}; echo ready; {script}"),
        env=run.environment(), stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_gone(pids: list[int]) -> None:
    limit = time.monotonic() + 20
    while not all(map(gone, pids)):
        assert time.monotonic() < limit, "still there"
        time.sleep(0.02)


def test_signals_are_delivered_and_stops_are_stops(run: Translated, deb: Path) -> None:
    trap = "trap 'echo caught; exit 5' TERM"
    with start(run, deb, "while :; do sleep 0.1; done", trap) as process:
        os.kill(process.pid, signal.SIGTERM)
        told, _ = process.communicate(timeout=30)
    assert (told, process.returncode) == ("caught\n", 5)
    script = "sh -c 'kill -STOP $$; echo continued' & sleep 0.3; kill -CONT $!; wait $!"
    assert sh(run, deb, script) == "continued\n"


def test_all_ends_with_the_program(run: Translated, deb: Path) -> None:
    script = "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!"
    pid = int(sh(run, deb, script))
    wait_until_gone([pid])


@pytest.mark.parametrize("victim", ["runtime", "tracer"])
def test_whoever_is_killed_nothing_stays(run: Translated, deb: Path, victim: str) -> None:
    with start(run, deb, "sleep 1000 & sleep 1000") as process:
        inner = children(process.pid)
        everybody = [*inner, *(each for pid in inner for each in children(pid))]
        (tracer,) = [pid for pid in inner if traces(pid, everybody)]
        os.kill(tracer if victim == "tracer" else process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
        assert process.returncode == (137 if victim == "tracer" else -signal.SIGKILL)
    wait_until_gone(everybody)
    limit = time.monotonic() + 20
    while run.left() and time.monotonic() < limit:
        time.sleep(0.05)
    run(deb, "true")


def test_no_call_fails_because_the_tracer_is_killed(run: Translated, deb: Path) -> None:
    loop = "(while :; do (: </etc/passwd) || echo failed; done) 2>&1 &"
    processors = os.sched_getaffinity(0)
    # A program takes turns with the tracer that ends.
    os.sched_setaffinity(0, {min(processors)})
    try:
        for _ in range(5):
            with start(run, deb, f"{loop * 8} wait") as process:
                inner = children(process.pid)
                (tracer,) = [pid for pid in inner if traces(pid, inner)]
                os.kill(tracer, signal.SIGKILL)
                told, _ = process.communicate(timeout=30)
            assert (told, process.returncode) == ("", 137)
    finally:
        os.sched_setaffinity(0, processors)


def traces(pid: int, others: list[int]) -> bool:
    told = [Path(f"/proc/{other}/status").read_text() for other in others]
    return any(f"TracerPid:\t{pid}\n" in status for status in told)


def test_a_program_that_traces_gets_an_error(run: Translated, deb: Path) -> None:
    script = "perl -e 'exit(syscall(101, 0, 0, 0, 0) == -1 ? 0 : 1)'"
    assert sh(run, deb, f"uname -m | grep -q x86_64 || exit 0; {script}") == ""


def test_where_tracing_is_refused_the_sentence_says_what_to_allow(
    hello: Path, shared: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can install the filter")
    refusing = [sys.executable, str(TESTS / "refusing.py"), "unshare=EPERM,ptrace=EPERM"]
    user = Runner(as_root=False).command(hello)
    environment = {"PATH": os.environ["PATH"], "HOME": str(shared)}
    done = Runner(as_root=True)(*refusing, *user, env=environment)
    assert done.returncode == 125
    assert "user namespace" in done.stderr.splitlines()[-1]


def test_the_doctor_says_how_it_would_run(hello: Path, shared: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can install the filter")
    run = Translated("refused", shared)
    told = run(hello, "--dockerc-doctor").stdout
    assert "path translation (ptrace): yes\n" in told
    assert "  FUSE, under an overlay: does not work here\n" in told
    assert "  unpacked once into the cache, its paths translated (ptrace): works\n" in told
    assert "this file would run by: unpacked once into the cache, its paths translated" in told
    assert "to run it faster, and isolated: the kernel refuses a user namespace" in told


def test_job_control(run: Translated, deb: Path) -> None:
    """Job control: an interactive shell stops a job, and continues it."""
    script = (
        "set -m; sleep 1000 & kill -STOP %1; sleep 0.2; jobs | grep -c Stopped; kill -CONT %1;"
        " kill %1; wait %1; echo $?"
    )
    done = run(deb, "bash", "-c", script)
    assert done.stdout == "1\n143\n", done.stderr
