"""/etc/hosts, resolv.conf and hostname: the machine's, copied, as docker's containers have them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support import Runner
from test_run_flags import refused, said
from test_run_safety import PRIVATE

MACHINES = [Path("/etc/hosts"), Path("/etc/resolv.conf"), Path("/etc/hostname")]


@pytest.mark.parametrize("way", ["", "unpack", "copy"])
def test_copies_that_can_be_written(run: Runner, deb: Path, way: str) -> None:
    before = {path: path.read_bytes() for path in MACHINES if path.exists()}
    names = " ".join(map(str, before))
    script = f"cat {names}; for f in {names}; do echo more >> $f; tail -n 1 $f; done"
    done = run(deb, "sh", "-c", script, env={"DOCKERC_FORCE": way} if way else None)
    assert (done.returncode, done.stderr) == (0, "")
    expected = b"".join(before.values()).decode()
    assert done.stdout == expected + "more\n" * len(before)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("way", ["", "unpack", "copy"])
def test_mtab_is_there_as_in_docker_s_containers(run: Runner, deb: Path, way: str) -> None:
    environment = {**os.environ, "DOCKERC_FORCE": way}
    for words in (["--read-only"], []):
        done = run(deb, *words, "sh", "-c", "readlink /etc/mtab; df /", env=environment)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[0] == "/proc/mounts"
        assert done.stdout.splitlines()[-1].split()[-1] == "/"


def test_lines_of_resolv_conf(run: Runner, deb: Path) -> None:
    machines = Path("/etc/resolv.conf").read_text().splitlines()
    servers = [line for line in machines if line.startswith("nameserver")]
    words = ["--dns-search", "a.example", "--dns-search=b.example", "--dns-option", "ndots:3"]
    told = said(run, deb, *words, "cat", "/etc/resolv.conf").splitlines()
    assert [line for line in told if line.startswith("nameserver")] == servers
    assert told[-2:] == ["search a.example b.example", "options ndots:3"]
    told = said(run, deb, "--dns", "192.0.2.1", "--dns-search", "x", "cat", "/etc/resolv.conf")
    assert told == "nameserver 192.0.2.1\nsearch x\n"


def test_the_image_s_own_hosts(run: Runner, deb: Path) -> None:
    # The test image has none.
    assert run(deb, "--no-hosts", "cat", "/etc/hosts").returncode == 1
    assert " /etc/hosts " not in said(run, deb, "--no-hosts", "cat", "/proc/mounts")
    assert "192.0.2.1" in said(run, deb, "--add-host", "x:192.0.2.1", "cat", "/etc/hosts")


def test_a_volume_in_their_place(run: Runner, deb: Path, shared: Path) -> None:
    (shared / "hosts").write_text("192.0.2.1 own\n")
    told = said(run, deb, "-v", f"{shared}/hosts:/etc/hosts", "cat", "/etc/hosts")
    assert told == "192.0.2.1 own\n"


@pytest.mark.parametrize("name", ["hosts", "resolv.conf"])
def test_a_pipe_in_their_place_keeps_nobody_waiting(
    run: Runner, deb: Path, shared: Path, name: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root mounts over a file of the machine")
    os.mkfifo(shared / "pipe", 0o666)
    script = f'mount --bind {shared}/pipe /etc/{name} && exec "$@"'
    words = [*PRIVATE, "sh", "-c", script, "-", *run.command(deb, "echo", "ran")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "ran\n"), done.stderr


def test_other_options_of_docker(run: Runner, deb: Path) -> None:
    told = said(run, deb, "--shm-size", "3m", "df", "--output=size", "-B1", "/dev/shm")
    assert told.split()[-1] == str(3 << 20)
    if "65534" not in said(run, deb, "stat", "-c", "%u", "/etc/shadow"):
        script = "grep ^Groups: /proc/self/status"
        words = ["--group-add", "mail", "--group-add", "77"]
        assert said(run, deb, *words, "sh", "-c", script).split() == ["Groups:", "0", "8", "77"]
    assert "no group nobodys" in refused(run, deb, "--group-add", "nobodys", "true")
    script = "touch /tmp/x /run/x /var/tmp/x && ! touch /x 2>/tmp/y"
    said(run, deb, "--read-only", "--read-only-tmpfs", "sh", "-c", script)
    told = run(deb, "--env-host", "-e", "B=3", "env", env={"A": "1", "B": "2", "HOME": "/h"})
    assert {"A=1", "B=3", "HOME=/root"} <= set(told.stdout.splitlines())
    assert said(run, deb, "--expose", "80", "-u", "", "id", "-u") == "0\n"
    assert "restarts programs" in refused(run, deb, "--restart", "always", "true")
    assert "kill -s SIGNAL PID" in refused(run, deb, "--stop-signal", "QUIT", "true")


def test_kernel_parameters_of_the_container(run: Runner, deb: Path) -> None:
    before = Path("/proc/sys/kernel/msgmax").read_text()
    words = ["--sysctl", "kernel.msgmax=9001", "--network=none", "--sysctl=net.ipv4.ip_forward=1"]
    files = ["/proc/sys/kernel/msgmax", "/proc/sys/net/ipv4/ip_forward"]
    assert said(run, deb, *words, "cat", *files) == "9001\n1\n"
    assert Path("/proc/sys/kernel/msgmax").read_text() == before
    for name in ("kernel.core_pattern", "vm.overcommit_memory", "kernel.shm../x", "kernel.shm/x"):
        assert "container's own" in refused(run, deb, "--sysctl", f"{name}=1", "true")
    assert "sysctl(8) there" in refused(run, deb, "--sysctl", "net.ipv4.ip_forward=1", "true")
    assert "NAME=VALUE" in refused(run, deb, "--sysctl", "kernel.msgmax", "true")


def test_without_a_network_the_machine_s_devices_are_not_to_be_seen(run: Runner, deb: Path) -> None:
    assert said(run, deb, "--network", "none", "ls", "/sys/class/net") == "lo\n"
    assert "lo" in said(run, deb, "ls", "/sys/class/net").split()
