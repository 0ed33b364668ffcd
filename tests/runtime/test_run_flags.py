"""The options of `docker run`, one by one, against what docker would do."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import tempfile
from pathlib import Path

import pytest
from support import Runner, dockerc, with_config


def said(run: Runner, *words: str | Path, **options: object) -> str:
    """What it prints; it must succeed, silently."""
    done = run(*words, **options)
    assert (done.returncode, done.stderr) == (0, ""), done
    return str(done.stdout)


def refused(run: Runner, *words: str | Path, **options: object) -> str:
    """The one sentence with which it refuses."""
    done = run(*words, **options)
    assert done.returncode == 125, done
    assert done.stderr.startswith("dockerc: ") and len(done.stderr.splitlines()) == 1, done.stderr
    return str(done.stderr)


def test_what_has_no_meaning_here_is_accepted(run: Runner, deb: Path) -> None:
    words = ["-it", "--rm", "--name", "n", "--name=n", "-l", "a=b", "--pull=always", "-i", "-t"]
    assert said(run, deb, *words, "echo", "-v", "yes") == "-v yes\n"


def test_what_is_unknown_is_named(run: Runner, deb: Path) -> None:
    for word in ("--frobnicate", "-Z", "-iZ"):
        assert word in refused(run, deb, word, "true")


def test_a_sentence_that_is_cut_ends_its_line(run: Runner, deb: Path) -> None:
    sentence = refused(run, deb, "--x\n" + "y" * 5000, "true")
    assert sentence.startswith("dockerc: unknown option --x?yy") and sentence.endswith("yy\n")
    assert len(sentence) == 4096


def test_environment_files(run: Runner, deb: Path, shared: Path) -> None:
    (shared / "env").write_text("# comment\nA=from file\n\nB=b\nCALLER\nC=c\n")
    environment = {"PATH": os.environ["PATH"], "CALLER": "called"}
    words = ["-e", "C=over", "--env-file", shared / "env", "env"]
    told = said(run, deb, *words, env=environment).splitlines()
    assert {"A=from file", "B=b", "C=over", "CALLER=called"} <= set(told)
    assert "env" in refused(run, deb, "--env-file", "/no/such", "env")


def test_workdir_and_entrypoint(run: Runner, deb: Path) -> None:
    assert said(run, deb, "-w", "/new/dir", "pwd") == "/new/dir\n"
    assert said(run, deb, "--entrypoint", "echo", "a", "b") == "a b\n"
    assert said(run, deb, "--entrypoint", "", "echo", "c") == "c\n"
    assert "absolute" in refused(run, deb, "--workdir=x", "pwd")


def test_read_only_with_tmpfs(run: Runner, deb: Path, shared: Path) -> None:
    script = (
        "touch /x 2>/dev/null || echo refused; touch /scratch/x && echo written;"
        " stat -c %a /scratch"
    )
    words = ["--read-only", "--tmpfs", "/scratch:size=1m", "--tmpfs=/other"]
    assert said(run, deb, *words, "sh", "-c", script) == "refused\nwritten\n1777\n"
    options = said(run, deb, *words, "grep", " /scratch ", "/proc/mounts")
    assert "size=1024k" in options and "noexec" in options and "nosuid" in options


def test_mount(run: Runner, deb: Path, shared: Path) -> None:
    (shared / "f").write_text("here\n")
    bind = f"type=bind,source={shared},target=/data"
    assert said(run, deb, "--mount", bind, "cat", "/data/f") == "here\n"
    done = run(deb, "--mount", f"{bind},readonly", "touch", "/data/x")
    assert "Read-only" in done.stderr
    listed = said(
        run, deb, "--mount", "type=tmpfs,dst=/t,tmpfs-size=65536", "grep", " /t ", "/proc/mounts"
    )
    assert "size=64k" in listed
    assert "/no/such" in refused(run, deb, "--mount", "type=bind,src=/no/such,dst=/x", "true")
    assert "named volumes" in refused(run, deb, "--mount", "type=volume,src=v,dst=/x", "true")
    assert "frob" in refused(run, deb, "--mount", f"{bind},frob=1", "true")


def test_mounts_with_quotes(run: Runner, deb: Path, shared: Path) -> None:
    odd = shared / 'a,b "c"'
    odd.mkdir()
    (odd / "f").write_text("found\n")
    quoted = str(odd).replace('"', '""')
    words = ["--mount", f'type=bind,"source={quoted}",target=/m,readonly']
    assert said(run, deb, *words, "cat", "/m/f") == "found\n"
    assert "not closed" in refused(run, deb, "--mount", 'type=bind,"source=/x', "true")
    assert "comma is missing" in refused(run, deb, "--mount", '"type=bind"x,target=/m', "true")


def test_environment_files_as_docker_reads_them(run: Runner, deb: Path, shared: Path) -> None:
    (shared / "env").write_bytes(b"\xef\xbb\xbfA=1\r\n\n  B= two words \n#C=3\nPASSED\n")
    told = run(deb, "--env-file", shared / "env", "env", env={"PASSED": "on"}).stdout.splitlines()
    assert {"A=1", "B= two words ", "PASSED=on"} <= set(told)
    for line in (b"A B=1\n", b"A=1\0\n"):
        (shared / "env").write_bytes(line)
        assert "not a variable" in refused(run, deb, "--env-file", shared / "env", "env")


def test_overlay_keeps_changes(run: Runner, deb: Path, shared: Path) -> None:
    keep = shared / "keep"
    said(
        run,
        deb,
        "--overlay",
        keep,
        "sh",
        "-c",
        "echo kept >/srv/x; rm -r /usr/share/doc; mkdir /usr/share/doc",
    )
    assert (
        said(run, deb, "--overlay", keep, "sh", "-c", "cat /srv/x; ls /usr/share/doc") == "kept\n"
    )
    assert said(run, deb, "sh", "-c", "test ! -e /srv/x && echo gone") == "gone\n"


def test_hostname_and_hosts(run: Runner, deb: Path) -> None:
    words = [
        "-h",
        "box",
        "--add-host",
        "other:10.1.2.3",
        "--add-host=six:::1",
        "--dns",
        "192.0.2.1",
    ]
    script = (
        "cat /proc/sys/kernel/hostname /etc/hostname /etc/resolv.conf /etc/hosts; getent hosts box"
    )
    told = said(run, deb, *words, "sh", "-c", script)
    assert told.startswith("box\nbox\nnameserver 192.0.2.1\n")
    assert "10.1.2.3\tother\n" in told and "::1\tsix\n" in told and told.endswith("box\n")
    assert "--add-host" in refused(run, deb, "--add-host", "x", "true")


def test_network(run: Runner, deb: Path) -> None:
    interfaces = (
        "cat /sys/class/net/lo/operstate; tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"
    )
    assert said(run, deb, "--network", "none", "sh", "-c", interfaces).splitlines()[-1] == "lo"
    up = "cat /proc/net/fib_trie | grep -c 127.0.0.1"
    assert said(run, deb, "--network=none", "sh", "-c", up) != "0\n"
    outside = Path("/proc/net/dev").read_text().count("\n")
    assert said(run, deb, "--network", "host", "sh", "-c", "wc -l </proc/net/dev") == f"{outside}\n"
    assert "bridge" in refused(run, deb, "--network", "bridge", "true")
    assert "nothing to publish" in refused(run, deb, "-p", "80:80", "--net=none", "true")


def status(run: Runner, deb: Path, *words: str) -> dict[str, str]:
    """/proc/self/status of an app run with these options."""
    lines = said(run, deb, *words, "cat", "/proc/self/status").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_capabilities(run: Runner, deb: Path) -> None:
    chown, net_admin = 1 << 0, 1 << 12
    before = int(status(run, deb)["CapEff"], 16)
    assert before & chown and not before & net_admin
    less = status(run, deb, "--cap-drop", "chown")
    assert int(less["CapEff"], 16) == int(less["CapBnd"], 16) == before & ~chown
    more = status(run, deb, "--cap-add=CAP_NET_ADMIN")
    assert int(more["CapEff"], 16) == before | net_admin
    only = status(run, deb, "--cap-drop", "ALL", "--cap-add", "chown")
    assert int(only["CapEff"], 16) == chown
    assert "nonsense" in refused(run, deb, "--cap-add", "nonsense", "true")


def test_security_options(run: Runner, deb: Path, shared: Path) -> None:
    assert status(run, deb)["Seccomp"] == "2"
    assert status(run, deb, "--security-opt", "seccomp=unconfined")["Seccomp"] == "0"
    assert status(run, deb, "--security-opt=no-new-privileges")["NoNewPrivs"] == "1"
    assert status(run, deb, "--security-opt=no-new-privileges:false")["NoNewPrivs"] == "0"
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
    }
    (shared / "profile.json").write_text(json.dumps(profile))
    done = run(deb, "--security-opt", f"seccomp={shared}/profile.json", "mkdir", "/x")
    assert "No space left" in done.stderr
    (shared / "bad.json").write_text('{"defaultAction": "SCMP_ACT_NONSENSE"}')
    assert "filter" in refused(run, deb, "--security-opt", f"seccomp={shared}/bad.json", "true")
    assert "apparmor" in refused(run, deb, "--security-opt", "apparmor=x", "true")


def test_privileged(run: Runner, deb: Path) -> None:
    told = status(run, deb, "--privileged")
    assert told["Seccomp"] == told["NoNewPrivs"] == "0"
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    # In a user namespace all; of root's what root has.
    every = "%x" % ((1 << (last + 1)) - 1)
    if run.as_root:
        every = Path("/proc/self/status").read_text().partition("CapBnd:")[2].split()[0]
    assert int(told["CapEff"], 16) == int(every, 16)
    assert (
        said(run, deb, "--privileged", "sh", "-c", "mount -t tmpfs x /mnt && ls /dev/fuse")
        == "/dev/fuse\n"
    )


def test_devices(run: Runner, deb: Path) -> None:
    assert (
        said(run, deb, "--device", "/dev/fuse", "sh", "-c", "test -c /dev/fuse && echo yes")
        == "yes\n"
    )
    words = ["--device", "/dev/zero:/dev/nought:rw", "sh", "-c", "head -c 3 /dev/nought | wc -c"]
    assert said(run, deb, *words) == "3\n"
    assert "/dev/none" in refused(run, deb, "--device", "/dev/none", "true")


def test_limits(run: Runner, deb: Path) -> None:
    words = ["--ulimit", "nofile=100:200", "--ulimit=core=0"]
    assert (
        said(run, deb, *words, "sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -c") == "100\n200\n0\n"
    )
    for wrong in ("nofile", "frob=1", "nofile=x", "nofile=2:1"):
        assert wrong in refused(run, deb, "--ulimit", wrong, "true")


def test_cgroup_limits_are_in_force_or_said_not_to_be(run: Runner, deb: Path) -> None:
    words = ["--memory", "64m", "--cpus=1.5", "--pids-limit", "50"]
    done = run(deb, *words, "cat", "/sys/fs/cgroup/memory.max")
    if done.returncode == 0:
        assert (done.stdout, done.stderr) == (f"{64 << 20}\n", "")
    else:
        assert "not in force" in done.stderr.splitlines()[0]
    for wrong in (["-m", "x"], ["--cpus", "x"], ["--pids-limit", "x"]):
        assert wrong[1] in refused(run, deb, *wrong, "true")


def test_init_reaps_and_passes_on(run: Runner, deb: Path) -> None:
    script = (
        "(sleep 0.1 & exec true) ; sleep 0.5; ps=$(ls -d /proc/[0-9]* | wc -l); echo $$ $ps; exit 9"
    )
    done = run(deb, "--init", "sh", "-c", script)
    # Itself, init and ls: the orphan is reaped.
    assert (done.returncode, done.stdout.split()[0]) == (9, "2")
    trapped = ["sh", "-c", "trap 'echo caught; exit 4' TERM; echo up; while :; do sleep 0.05; done"]
    command = run.command(deb, "--init", *trapped)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        process.terminate()
        assert process.stdout.readline() == "caught\n"
        assert process.wait(timeout=60) == 4


def test_what_cannot_be_is_named(run: Runner, deb: Path, shared: Path) -> None:
    # The number that setresuid(2) takes for "as it is".
    assert "4294967295" in refused(run, deb, "-u", "4294967295", "true")
    assert "4294967295" in refused(run, deb, "-u", "1:4294967295", "true")
    config = json.loads(dockerc("inspect", "--config", deb).stdout)
    config["hostname"] = "x" * 65
    assert "hostname" in refused(run, with_config(deb, config, shared / "named"), "true")


def test_volumes_that_the_workspace_is_mounted_over(run: Runner, deb: Path) -> None:
    with tempfile.NamedTemporaryFile(dir="/tmp", prefix="callers-") as mine:
        script = f"ls /w/{mine.name[5:]} && ! test -e /w/lower"
        assert said(run, deb, "-v", ".:/w", "sh", "-c", script, cwd="/tmp")
        assert said(run, deb, "-v", "/tmp:/w:ro", "sh", "-c", script)
        assert said(run, deb, "-v", "/:/w:ro", "sh", "-c", f"ls /w{mine.name} /w/etc/passwd")


def test_a_volume_from_a_directory_that_was_removed(run: Runner, deb: Path, shared: Path) -> None:
    script = f'mkdir {shared}/x; cd {shared}/x; rmdir {shared}/x; exec "$0" "$@"'
    assert "removed" in refused(run, "sh", "-c", script, deb, "-v", ".:/data", "true")
    assert said(run, "sh", "-c", script, deb, "echo", "fine") == "fine\n"


def test_arguments_in_the_environment(run: Runner, deb: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "DOCKERC_ARGS": "-e 'A=b  c' -e X=1 --"}
    words = ["sh", "-c", 'echo "$A" $X']
    assert said(run, deb, *words, env=environment) == "b  c 1\n"
    assert "quote" in refused(run, deb, "true", env={**environment, "DOCKERC_ARGS": "'"})


def test_about_the_file(run: Runner, deb: Path, shared: Path) -> None:
    inspected = json.loads(said(run, deb, "--dockerc-inspect"))
    assert inspected["root"]["path"] == "rootfs"
    manual = said(run, deb, "--dockerc-help")
    assert manual.startswith("Usage: ") and "--cap-add" in manual
    said(run, deb, "--dockerc-privileged-files", "--dockerc-extract", shared / "out")
    assert json.loads((shared / "out/config.json").read_text()) == inspected
    assert (shared / "out/rootfs/bin/ls").exists()
    assert "out" in refused(run, deb, "--dockerc-extract", shared / "out")
    told = said(run, deb, "--dockerc-doctor")
    assert "  FUSE, under an overlay: works\n" in told
    for helper in ("subordinate ids", "pasta"):
        assert f"\n{helper} (for " in told
    assert told.splitlines()[-2:] == [
        "this file would run by: FUSE, under an overlay",
        "keepers of shared mounts of this file: none",
    ]


def test_the_stub_does_not_hold_the_app_s_streams(run: Runner, deb: Path) -> None:
    command = run.command(deb, "sh", "-c", "exec <&- >&- 2>&-; sleep 5")
    for _ in range(5):  # each thread of the runtime has its turn to be late
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.read() == b""  # its end, long before the app's
            assert process.poll() is None
            process.kill()


def test_a_terminal_is_the_app_s(run: Runner, deb: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        command = run.command(deb, "-it", "sh", "-c", "stty size; tty; test -t 0 && echo terminal")
        os.execvp(command[0], command)
    output = b""
    while True:
        try:
            output += os.read(terminal, 1000)
        except OSError:
            break
    os.waitpid(pid, 0)
    assert b"terminal" in output


def test_the_app_runs_where_its_caller_may(run: Runner, deb: Path) -> None:
    script = "grep Cpus_allowed: /proc/self/status"
    mine = subprocess.run(["sh", "-c", script], capture_output=True, text=True).stdout
    assert said(run, deb, "sh", "-c", script) == mine
    if len(os.sched_getaffinity(0)) > 1:
        last = str(max(os.sched_getaffinity(0)))
        one = run("taskset", "-c", last, deb, "sh", "-c", f"{script}; true")
        assert one.stdout != mine and one.returncode == 0


@pytest.mark.parametrize("how", ["two volumes", "mount", "tmpfs below", "tmpfs above", "baked"])
def test_what_is_mounted_below_is_not_hidden(
    how: str, run: Runner, deb: Path, shared: Path
) -> None:
    for name in ("outer", "inner"):
        (shared / name).mkdir()
        (shared / name).chmod(0o777)
    inner, outer = f"{shared}/inner:/m/sub", f"{shared}/outer:/m"
    app, options = deb, ["-v", inner, "-v", outer]
    if how == "mount":
        options = ["--mount", f"type=bind,source={shared}/inner,target=/m/sub", "-v", outer]
    elif how == "tmpfs below":
        options = ["--tmpfs", "/m/sub", "-v", outer]
    elif how == "tmpfs above":
        options = ["-v", inner, "--tmpfs", "/m"]
    elif how == "baked":
        app, options = shared / "baked", ["-v", outer]
        dockerc("edit", deb, app, "-v", inner)
    done = run(app, *options, "sh", "-c", "echo x >/m/sub/new && echo y >/m/new")
    assert (done.returncode, done.stderr) == (0, "")
    written = {path.relative_to(shared) for path in shared.glob("*er/**/new")}
    expected = {"inner/new", "outer/new"}
    expected -= {"inner/new"} if how == "tmpfs below" else set()
    expected -= {"outer/new"} if how == "tmpfs above" else set()
    assert {str(path) for path in written} == expected


def test_a_limit_of_0_is_none_as_with_docker(run: Runner, deb: Path) -> None:
    done = run(deb, "-m", "0", "--cpus", "0", "--pids-limit", "0", "sh", "-c", "true; echo ran")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")
