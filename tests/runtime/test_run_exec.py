"""A command in a run: one of the run's processes, with which nothing of the machine comes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from instances_support import USERS, Row, User
from leftovers import wait_for
from support import TESTS, need
from terminal_support import terminal

pytestmark = pytest.mark.root("starts runs as several users")

WHAT_IT_HAS = r"""
id
grep -E '^(Uid|Gid|Groups|NoNewPrivs|Cap...|Seccomp|Umask|SigIgn|SigCgt|SigBlk):' /proc/self/status
sed 's/^/limit /' /proc/self/limits
env | grep -v ^_= | sort
for each in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$each; done
pwd; umask; cat /proc/sys/kernel/hostname /proc/self/oom_score_adj /proc/self/cgroup
readlink /proc/self/root; stat -c %d:%i /
ls /proc/self/fd
"""
FORMS: dict[str, list[str]] = {
    "plain": [],
    "a user, limits and a directory": [
        *("-u", "daemon:mail", "--ulimit", "nofile=100:200", "-w", "/usr/share", "-e", "A=b c"),
        *("--group-add", "games", "--hostname", "inside", "--env-file"),
    ],
    "fewer rights": ["--cap-drop", "ALL", "--cap-add", "CHOWN", "--read-only", "--init"],
    "more rights": ["--cap-add", "SYS_ADMIN", "--security-opt", "no-new-privileges=false"],
    "all rights": ["--privileged", "--network", "none"],
}


@pytest.fixture(params=USERS)
def user(request: pytest.FixtureRequest) -> User:
    return User(request.param)


@pytest.fixture
def web(user: User, deb: Path) -> Iterator[Row]:
    with user.running(deb, "--name", "web", "sleep", "60") as row:
        yield row


@pytest.mark.parametrize("form", FORMS)
def test_it_has_what_the_program_has(user: User, deb: Path, shared: Path, form: str) -> None:
    options = [*FORMS[form], "-v", f"{shared}:/out"]
    if "--env-file" in options:
        # Relative to where the run was started.
        (shared / "env").write_text("FROM_A_FILE=1\n")
        options.insert(options.index("--env-file") + 1, "env")
    script = f"{{ {WHAT_IT_HAS} }} >/out/program; sleep 60"
    (shared / "program").touch()
    (shared / "program").chmod(0o666)
    environment = {**os.environ, "PWD": str(shared), "LIMIT": "x"}
    with user.running(deb, *options, "sh", "-c", script, env=environment, cwd=shared):
        words = [deb, "--dockerc-exec", "sh", "-c"]
        assert wait_for(lambda: (shared / "program").read_text().endswith("\n3\n"))
        expected = (shared / "program").read_text().splitlines()
        done = user(*words, WHAT_IT_HAS, cwd="/")
        assert done.stderr == ""
        assert done.stdout.splitlines() == expected
        assert len(expected) > 30


def test_podman_exec_agrees(deb: Path, images: Path, shared: Path) -> None:
    need("podman", "crun", "unshare")
    rights = ["--cap-drop", "ALL", "--cap-add", "CHOWN", "--cap-add", "KILL"]
    rights += ["--security-opt", "no-new-privileges", "-e", "A=1", "--hostname", "inside"]
    asked = r"""
        id; pwd; umask; env | grep -vE '^(container|TERM|HOSTNAME|_)=' | sort; ls /proc/self/fd
        grep -E '^(Uid|Gid|NoNewPrivs|Cap...|Seccomp):' /proc/self/status
        cat /proc/self/oom_score_adj; grep ^0: /proc/self/cgroup; echo $1"""
    cases: list[list[str]] = [
        ["sh", "-c", asked, "sh", "x"],
        ["-u", "daemon", "-w", "/tmp", "-e", "A=2", "-e", "B", "@", "sh", "-c", asked, "-", "a b"],
        ["-u", "12:34", "@", "id"],
        ["no-such-program"],
        ["/etc/passwd"],
        ["sh", "-c", "kill -9 $$"],
        ["sh", "-c", "exit 42"],
    ]
    podman = [
        # It takes 50 letters of the second.
        *("podman", "--root", shared / "root", "--runroot", shared / "run"),
        *("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "crun"),
        *("--runtime-flag", "cgroup-manager=disabled"),
    ]
    # crun refuses the second hierarchy that some machines have beside cgroup v1.
    script = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
    private = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "-"]

    def judged(*words: Any) -> Any:
        command = [*map(str, (*private, *podman, *words))]
        environment = {**os.environ, "B": "callers"}
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=120, check=False
        )

    limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=2000:2000"]
    start = ["run", "-d", "--name", "j", "--network", "host", "--cgroups", "disabled", *limits]
    started = judged(*start, *rights, f"oci:{images}/debian", "sleep", "100")
    assert started.returncode == 0, started.stderr
    try:
        with User("root").running(deb, "--name", "j", *rights, "sleep", "60"):
            for case in cases:
                theirs = judged("exec", *["j" if word == "@" else word for word in at(case)])
                ours = User("root")(
                    *(deb, "--dockerc-exec", *["j" if word == "@" else word for word in at(case)]),
                    env={**os.environ, "B": "callers"},
                )
                assert ours.stdout.splitlines() == theirs.stdout.splitlines(), case
                assert ours.returncode == theirs.returncode, case
    finally:
        judged("rm", "-f", "-t", "0", "j")


def at(case: list[str]) -> list[str]:
    """The name of the container stands before the command."""
    return case if "@" in case else ["@", *case]


def test_options_of_its_own(user: User, web: Row, deb: Path, shared: Path) -> None:
    (shared / "env").write_text("A=file\nB=file\n")
    environment = {**os.environ, "FROM_HERE": "yes"}
    words = ["-e", "B=option", "-e", "FROM_HERE", "--env-file", "env", "-w", "/tmp", "-i"]
    done = user(
        *(deb, "--dockerc-exec", *words, "web", "-e", "C=3", "--", "sh", "-c"),
        'echo $A $B $FROM_HERE $C $HOSTNAME; pwd; echo "$@"',
        *("-", "-e", "last"),
        env=environment,
        cwd=shared,
    )
    host = os.uname().nodename
    assert (done.stdout, done.stderr) == (f"file option yes 3 {host}\n/tmp\n-e last\n", "")
    assert user(deb, "--dockerc-exec", "-u", "nobody-here", "true").returncode == 125


def test_another_user(user: User, web: Row, deb: Path) -> None:
    done = user(deb, "--dockerc-exec", "-u", "daemon", "web", "sh", "-c", "id -u; echo $HOME")
    if user.kind == "one id":
        assert done.returncode == 125 and "cannot become user 1 and group 1" in done.stderr
    else:
        assert done.stdout.split() == ["1", "/usr/sbin"]


def test_which_run(user: User, deb: Path) -> None:
    enter = [deb, "--dockerc-exec"]
    none = user(*enter, "true")
    assert (none.returncode, none.stderr) == (125, "dockerc: no run of this file that is yours\n")
    with (
        user.running(deb, "--name", "one", "sleep", "60") as one,
        user.running(deb, "--name", "two", "-e", "TWO=2", "sleep", "60") as two,
    ):
        several = user(*enter, "true")
        assert several.returncode == 125
        assert several.stderr.startswith("dockerc: several runs of this file: name one of them: ")
        for name in (f"one ({one.pid})", f"two ({two.pid})"):
            assert name in several.stderr
        for word in ("two", two.pid, two.app):
            assert user(*enter, str(word), "sh", "-c", "echo $TWO").stdout == "2\n"
        assert user(*enter, "one", "sh", "-c", "echo $TWO").stdout == "\n"
    missing = user(*enter, "one")
    assert missing.returncode == 125
    with user.running(deb, "sleep", "60"):
        no_command = user(*enter)
        assert no_command.returncode == 125 and "no command" in no_command.stderr
        unknown = user(*enter, "-v", "/a:/b", "true")
        assert unknown.returncode == 125 and "--dockerc-exec takes -e" in unknown.stderr


def test_runs_of_others(deb: Path) -> None:
    with User("sub-ids").running(deb, "--name", "theirs", "sleep", "60") as row:
        assert User("one id")(deb, "--dockerc-exec", "theirs", "true").returncode == 125
        done = User("root")(deb, "--dockerc-exec", "theirs", "true")
        assert done.returncode == 125
        assert done.stderr.startswith(f"dockerc: this run is user {row.user}'s: enter it as that")
    with User("root").running(deb, "--name", "theirs", "sleep", "60"):
        done = User("sub-ids")(deb, "--dockerc-exec", "theirs", "true")
        assert done.stderr == "dockerc: no run of this file that is yours\n"


def test_status_and_signals(user: User, web: Row, deb: Path) -> None:
    enter = [deb, "--dockerc-exec", "web"]
    for script, status in (("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)):
        assert user(*enter, "sh", "-c", script).returncode == status
    assert user(*enter, "no-such-program").returncode == 127
    assert user(*enter, "/etc").returncode == 126
    trap = "trap 'echo caught; exit 3' USR1 TERM; echo ready; while :; do sleep 0.1; done"
    for number in (signal.SIGTERM, signal.SIGUSR1):
        words = user.command(*enter, "sh", "-c", trap)
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            assert process.stdout.read() == "caught\n"
        assert process.returncode == 3
    # What the program ignores or does not handle ends it: it is not the first process.
    words = user.command(*enter, "sleep", "60")
    with subprocess.Popen(words) as process:
        assert wait_for(lambda: "sleep 60" in of(user, deb, web))
        process.terminate()
        assert process.wait(10) == 143


def test_a_signal_before_the_number_of_the_program_is_known(
    user: User, web: Row, deb: Path
) -> None:
    # Writes take half a second: that with the number, and what the program says.
    slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=write:delay_enter=500000"]
    script = "trap 'kill $!; echo caught; exit 3' TERM; sleep 20 & wait"
    words = [*slow, *user.command(deb, "--dockerc-exec", "web", "sh", "-c", script)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert wait_for(lambda: "sleep 20" in of(user, deb, web))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        assert process.communicate(timeout=60)[0] == "caught\n"
    assert process.returncode == 3


def of(user: User, deb: Path, row: Row) -> str:
    """Command lines of the run's processes but the first."""
    script = "for each in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$each; echo; done"
    found = user(deb, "--dockerc-exec", str(row.pid), "sh", "-c", script).stdout
    return "\n".join(found.splitlines()[1:])


def test_streams(user: User, web: Row, deb: Path, shared: Path) -> None:
    enter = [deb, "--dockerc-exec", "web"]
    piped = user(*enter, "cat", input="through a pipe\n", stdin=None)
    assert piped.stdout == "through a pipe\n"
    (shared / "input").write_text("of a file\n")
    (shared / "input").chmod(0o666)
    with open(shared / "input") as given:
        script = "cat; echo no >/proc/self/fd/0"
        done = user(*enter, "sh", "-c", script, stdin=given)
    assert done.stdout == "of a file\n"
    assert (shared / "input").read_text() == "of a file\n"
    # A process in the background holds nothing that keeps the readers.
    begun = time.monotonic()
    assert user(*enter, "sh", "-c", "sleep 30 >/dev/null 2>&1 & echo done").stdout == "done\n"
    assert time.monotonic() - begun < 20
    with subprocess.Popen(user.command(*enter, "ls", "/"), stdin=-3, stdout=-1, cwd="/") as child:
        assert child.stdout is not None and b"proc" in child.stdout.read()
    directory = os.open("/", os.O_RDONLY)
    try:
        done = user(*enter, "ls", stdin=directory)
    finally:
        os.close(directory)
    assert done.returncode == 125 and "is a directory" in done.stderr


def test_at_a_terminal(user: User, web: Row, deb: Path) -> None:
    with terminal(
        user.command(deb, "--dockerc-exec", "-e", "PS1=$ ", "web", "bash", "--norc", "-i")
    ) as typed:
        typed.until("$ ")
        typed.type("tty; echo columns $(stty size); echo $TERM\n")
        seen = typed.until("dumb\r\n")
        assert re.search(r"/dev/pts/\d+\r\n", seen), seen
        typed.resize(33, 99)
        typed.type("sleep 0.2; stty size\n")
        typed.until("33 99\r\n")
        typed.type("sleep 30; echo status $?\n")
        time.sleep(0.3)
        typed.type("\x03")
        typed.until("^C")
        typed.type("echo still here\n")
        typed.until("still here\r\n")
        typed.type("exit 5\n")
        assert typed.end() == 5


def test_it_ends_with_the_run(user: User, deb: Path) -> None:
    with user.running(deb, "--name", "short", "sleep", "60") as row:
        words = user.command(deb, "--dockerc-exec", "short", "sh", "-c", "echo on; sleep 60")
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "on\n"
            os.kill(row.pid, signal.SIGTERM)
            assert process.wait(10) == 137
    assert wait_for(lambda: user.ps(deb) == [])


def test_it_ends_with_its_caller(user: User, web: Row, deb: Path) -> None:
    words = user.command(deb, "--dockerc-exec", "web", "sleep", "59")
    with subprocess.Popen(words) as process:
        assert wait_for(lambda: "sleep 59" in of(user, deb, web))
        process.kill()
    assert wait_for(lambda: "sleep 59" not in of(user, deb, web))


SPY = r"""
while (1) {
  for my $dir (glob "/proc/[0-9]*") {
    next if $dir eq "/proc/1" or $dir eq "/proc/$$";
    for my $name ("exe", "cwd", "root", glob("$dir/fd/*")) {
      my $path = $name =~ m{^/} ? $name : "$dir/$name";
      my $to = readlink $path;
      print "$to\n" if defined $to;
      print "host file\n" if -e "$path/dockerc-test-marker";
    }
    print "memory\n" if open(my $m, "+<", "$dir/mem") and sysread($m, my $b, 1);
    # PTRACE_SEIZE, which needs no stop.
    my ($pid) = $dir =~ /(\d+)/;
    if (syscall(101, 0x4206, $pid, 0, 0) == 0) {
      my $exe = readlink("$dir/exe") // "?";
      print "traced $exe\n"; syscall(101, 17, $pid, 0, 0);
    }
  }
}
"""


def test_the_program_sees_nothing_of_the_machine(user: User, deb: Path, shared: Path) -> None:
    """A program with the right to trace all processes of its user namespace lies in wait."""
    (shared / "log").touch()
    (shared / "log").chmod(0o666)
    options = ["--cap-add", "SYS_PTRACE", "--cap-add", "DAC_READ_SEARCH", "-v", f"{shared}:/out"]
    options += ["--security-opt", "seccomp=unconfined"]
    spy = ["sh", "-c", 'exec perl -e "$0" >>/out/log 2>/dev/null', SPY]
    here = shared / "here"
    here.mkdir()
    (here / "dockerc-test-marker").touch()
    with user.running(deb, "--name", "spy", *options, *spy) as row, open(deb) as held:
        for _ in range(60):
            words = user.command(deb, "--dockerc-exec", str(row.pid), "true")
            done = subprocess.run(words, cwd=here, pass_fds=[held.fileno()], timeout=60)
            assert done.returncode == 0
        user(deb, "--dockerc-exec", str(row.pid), "sleep", "0.5")
    seen = set((shared / "log").read_text().splitlines())
    assert "/usr/bin/sleep" in seen, seen
    wrong = [each for each in seen if str(deb) in each or str(shared) in each]
    assert not wrong and "host file" not in seen, (wrong, seen)


def test_what_a_hostile_container_has_put_there(user: User, deb: Path) -> None:
    """Files of /dev that are not what their names say."""
    script = (
        "umount -l /dev/null /dev/pts; rm -f /dev/null; mkfifo /dev/null;"
        " mkdir -p /dev/pts; touch /dev/pts/ptmx; touch /tmp/ready; exec sleep 60"
    )
    words = ["--cap-add", "SYS_ADMIN", "sh", "-c", script]
    with user.running(deb, *words) as row:
        enter = [deb, "--dockerc-exec", str(row.pid)]
        ready = [*enter, "test", "-e", "/tmp/ready"]
        assert wait_for(lambda: user(*ready, input="", stdin=None).returncode == 0)
        done = user(*enter, "true", timeout=60)
        assert done.returncode == 125 and "/dev/null of the run is not" in done.stderr
        with terminal(user.command(*enter, "true")) as typed:
            typed.until("cannot make a terminal in the run")
            assert typed.end() == 125


REFUSED = (
    *("setns=0", "setns=EPERM", "prctl=0", "setresuid=0", "setsid=0", "setsid=EPERM"),
    *("memfd_create=ENOSYS", "clone=EPERM"),
)


@pytest.mark.parametrize("refused", REFUSED)
def test_refused_calls(user: User, web: Row, deb: Path, refused: str) -> None:
    """A call that is refused, or only said to be made, does not lead to a program outside."""
    python = ["python3", str(TESTS / "refusing.py"), refused]
    # The filter is inherited: it needs no_new_privs or root, and setpriv comes before.
    command = ["setpriv", "--no-new-privs", *python, str(deb), "--dockerc-exec", "web", "id"]
    done = user(*command)
    if refused.startswith("setns"):
        assert (done.returncode, done.stdout) == (125, ""), done.stderr
    assert "internal error" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_without_namespaces(deb: Path) -> None:
    refusing = ["python3", str(TESTS / "refusing.py"), "unshare=EPERM,clone=EPERM,clone3=ENOSYS"]
    words = [*refusing, str(deb), "--name", "bare", "sleep", "60"]
    private = ["unshare", "-m", "--propagation", "private"]
    with subprocess.Popen([*private, *words], stdin=subprocess.DEVNULL) as process:
        try:
            user = User("root")
            assert wait_for(lambda: bool(user.ps(deb)), 60)  # it is unpacked first
            done = user(deb, "--dockerc-exec", "bare", "id")
            assert (done.returncode, done.stdout) == (125, "")
        finally:
            process.kill()
