"""What a machine cannot do is said in one sentence, with status 125."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from machine_support import ARM64, CLOUD, GENERIC, command, kernel, machines, run
from support import FIXTURES, dockerc

pytestmark = pytest.mark.slow
REFUSED = {
    "--dockerc-ps": (2, "--dockerc-ps needs no machine: run "),
    "--detach": (125, "--detach is not supported in a machine: "),
    "--device=/dev/fuse": (125, "--device is not supported in a machine: a machine has none"),
    "-m=3m": (2, "--memory 3m: a machine needs 128m"),
    "-m=x": (2, "--memory x: write 512m or 2g"),
    "--cpus=0": (2, "--cpus 0: write a number of processors, up to 255"),
    "--security-opt=seccomp=/f": (125, "--security-opt seccomp=/f: a machine has docker's filter"),
    "--nonsense": (2, "unknown option --nonsense"),
    "-p=[::1]:80:80": (125, "--publish: QEMU forwards no port of an IPv6 address (::1)"),
    "-v=/etc/hostname:/f": (125, "--volume /etc/hostname: a single file can only be read"),
    "-v=/dev/null:/f": (125, "--volume /dev/null: a machine gets directories and regular files"),
}


@pytest.mark.parametrize("option", REFUSED)
def test_options_without_a_meaning(hello: Path, option: str) -> None:
    status, sentence = REFUSED[option]
    done = run(hello, option)
    assert done.returncode == status
    assert done.stderr.startswith(f"dockerc: {sentence}")
    assert done.stderr.count("\n") == 1 and done.stdout == ""


def test_without_qemu(hello: Path, tmp_path: Path) -> None:
    done = run(hello, environment={"PATH": str(tmp_path)})
    assert done.returncode == 125
    assert done.stderr == (
        "dockerc: qemu-system-x86_64 is not installed"
        " (package qemu-system-x86 in Debian and Ubuntu)\n"
    )


def with_qemu(tmp_path: Path, script: str) -> dict[str, str]:
    """An environment with a QEMU that is not as it should be."""
    program = tmp_path / "qemu-system-x86_64"
    program.write_text(f"#!/bin/bash\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}"}


def test_a_qemu_without_9p(hello: Path, tmp_path: Path) -> None:
    """It says so itself, of a device that it does not know."""
    script = 'exec /usr/bin/qemu-system-x86_64 "${@//virtio-9p-pci/virtio-9p-none}"'
    environment = with_qemu(tmp_path, script)
    done = run(hello, "-v", f"{tmp_path}:/w", which=GENERIC, environment=environment)
    assert done.returncode == 125
    assert done.stderr == (
        "dockerc: this QEMU has no virtio-9p, by which -v shares directories with a machine\n"
    )


def test_a_qemu_without_a_sandbox(hello: Path, tmp_path: Path) -> None:
    """It is started once more without one."""
    script = 'for word; do if [ "$word" = -sandbox ]; then echo -sandbox: no >&2; exit 1; fi'
    script += '; done; exec /usr/bin/qemu-system-x86_64 "$@"'
    done = run(hello, environment=with_qemu(tmp_path, script))
    assert (done.returncode, done.stderr) == (0, "") and "Hello" in done.stdout


def test_a_machine_that_was_up_is_not_started_once_more(deb: Path, tmp_path: Path) -> None:
    """A program that has broken out of its machine could say anything in QEMU's name."""
    script = f'[ "$1" = --version ] || echo start >>{tmp_path}/starts; echo -sandbox: no >&2'
    script += '; exec /usr/bin/qemu-system-x86_64 "$@"'
    process = subprocess.Popen(
        command(deb, "--", "sh", "-c", "echo ready; sleep 1000"),
        env={**os.environ, **with_qemu(tmp_path, script)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    (qemu,) = machines(process.pid)
    os.kill(qemu, signal.SIGKILL)
    assert process.communicate(timeout=60)[0] == "" and process.returncode == 125
    assert (tmp_path / "starts").read_text() == "start\n"


def test_a_qemu_that_is_too_old(hello: Path, tmp_path: Path) -> None:
    script = '[ "$1" = --version ] && echo QEMU emulator version 4.2.1 && exit; exit 1'
    done = run(hello, environment=with_qemu(tmp_path, script))
    assert done.returncode == 125
    assert done.stderr == "dockerc: QEMU 4.2.1 is too old for a machine; 6.0 or newer is needed\n"


def test_kernels_that_will_not_do(hello: Path, tmp_path: Path) -> None:
    done = run(hello, "-v", f"{tmp_path}:/w", which=CLOUD)
    assert done.returncode == 125
    assert "-cloud-amd64 lacks 9p, 9pnet_virtio, which -v needs; give another" in done.stderr
    done = run(hello, which=ARM64)
    assert done.returncode == 125
    assert "is a kernel for aarch64, and the machine is for x86_64" in done.stderr
    nothing = tmp_path / "none"
    words = ["vm", "--kernel", nothing, hello]
    done = dockerc(*words, check=False)
    assert done.returncode == 125 and f"there is no kernel {nothing}" in done.stderr


def test_a_kernel_that_does_not_boot(hello: Path, tmp_path: Path) -> None:
    """Here one without an initramfs, which finds no first process."""
    (tmp_path / "none").write_bytes(bytes(512))
    script = f"args=(); for word; do [[ $word == /dev/fd/* ]] && word={tmp_path}/none\n"
    script += 'args+=("$word"); done; exec /usr/bin/qemu-system-x86_64 "${args[@]}"'
    done = run(hello, environment=with_qemu(tmp_path, script))
    assert done.returncode == 125
    assert done.stderr.startswith("dockerc: the machine ended before the program did (QEMU: exit")
    assert "Kernel panic" in done.stderr


def test_a_file_that_is_no_executable(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no executable")
    done = subprocess.run(command(file), capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 125 and "not a dockerc executable" in done.stderr


def test_what_the_runtime_says(hello: Path) -> None:
    """In the machine it has the same sentences and statuses as on this one."""
    done = run(hello, "-u", "nobody-of-that-name", "--", "x")
    assert done.returncode == 125
    assert done.stderr.startswith("dockerc: no user nobody-of-that-name in the image's")
    done = run(hello, "--entrypoint", "/nothing")
    assert (done.returncode, done.stderr) == (
        127,
        "dockerc: cannot run /nothing: no such file or directory\n",
    )
    assert kernel() and FIXTURES
