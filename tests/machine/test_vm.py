"""Programs in machines of their own: what goes in and comes out, under a real QEMU."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from leftovers import wait_for
from machine_support import ARM64, GENERIC, command, kernel, machines, run
from support import FIXTURES, dockerc, need

pytestmark = pytest.mark.slow
SHOWN = """
echo "$A $B $C"; pwd; id -u; hostname; cat /etc/given; nproc; uname -r
grep ' / ' /proc/mounts | cut -d' ' -f1-4 | cut -d, -f1; grep -c ' /scratch tmpfs' /proc/mounts
grep MemTotal /proc/meminfo | tr -dc 0-9; echo
touch /x 2>/dev/null || echo read-only
cat; echo problem >&2; exit 7
"""


def test_options_and_streams(deb: Path, tmp_path: Path) -> None:
    """The options of a run mean what they mean without a machine; -m and --cpus are its own."""
    given = tmp_path / "given"
    given.write_text("of this machine\n")
    (tmp_path / "env").write_text("C=of a file\n")
    options = ["-e", "A", "-eB=2", "--env-file", tmp_path / "env", "-w", "/tmp", "-u", "1000"]
    options += ["-h", "box", "-v", f"{given}:/etc/given:ro", "--tmpfs", "/scratch", "--read-only"]
    options += ["-m", "300m", "--cpus", "3", "--", "sh", "-c", SHOWN]
    done = run(deb, *options, environment={"A": "caller's"}, input="standard input")
    lines = done.stdout.splitlines()
    assert lines[:6] == ["caller's 2 of a file", "/tmp", "1000", "box", "of this machine", "3"]
    assert lines[6].endswith("-cloud-amd64"), "its own kernel, and not this machine's"
    assert lines[7:9] == ["dockerc / overlay ro", "1"]
    assert 200_000 < int(lines[9]) < 300 << 10
    assert lines[10:] == ["read-only", "standard input"]
    assert done.stderr == "problem\n"
    assert done.returncode == 7


def test_what_a_build_has_given(deb: Path, tmp_path: Path) -> None:
    """Baked volumes and options are this machine's affair; `run --vm` is the same of an image."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "f").write_text("content\n")
    app = Path(shutil.copy(deb, tmp_path / "app"))
    dockerc("edit", app, app, "--volume", f"{tmp_path}/data:/data:ro", "--hostname", "baked")
    words = ["-v", f"{tmp_path}/new:/new", "--mount", f"type=bind,src={tmp_path}/data,dst=/m"]
    script = "cat /data/f; hostname; echo x >/data/g || echo x >/m/g; mkdir /new/d; ls -ld /new/d"
    done = run(app, *words, "--", "sh", "-c", script, which=GENERIC)
    assert done.stdout.splitlines()[:2] == ["content", "baked"]
    assert "Read-only file system" in done.stderr
    assert (tmp_path / "data" / "g").read_text() == "x\n"
    assert (tmp_path / "new" / "d").is_dir(), "made, as docker makes it"


def test_an_image(images: Path) -> None:
    words = ["run", "--vm", "--kernel", kernel(), "-e", "A=1", f"oci:{images}/debian"]
    done = dockerc(*words, "sh", "-c", "echo $A; exit 3", check=False, stdin=subprocess.DEVNULL)
    assert (done.stdout, done.returncode) == ("1\n", 3), done.stderr


def test_bytes_are_what_they_were(deb: Path, tmp_path: Path) -> None:
    """Both ways at once, and more than any buffer holds."""
    count = int(os.environ.get("DOCKERC_TEST_BYTES", 64 << 20))
    given = tmp_path / "given"
    with given.open("wb") as file:
        for _ in range(0, count, 1 << 20):
            file.write(os.urandom(1 << 20))
    with given.open("rb") as source:
        process = subprocess.Popen(
            command(deb, "--", "sh", "-c", "tee /dev/stderr"),
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=(tmp_path / "errors").open("wb"),
        )
        assert process.stdout
        compared = subprocess.run(["cmp", "-", given], stdin=process.stdout, capture_output=True)
    process.stdout.close()
    assert process.wait() == 0
    assert compared.returncode == 0, compared.stdout
    subprocess.run(["cmp", tmp_path / "errors", given], check=True)


def test_a_reader_that_leaves(deb: Path) -> None:
    """The program cannot write any more, and ends."""
    line = " ".join(f"'{word}'" for word in command(deb, "--", "sh", "-c", "yes; echo $? >&2"))
    done = subprocess.run(
        ["bash", "-c", f"{line} | head -n 2"], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "y\ny\n"
    assert done.stderr.splitlines()[-1] in ("1", "141")


TRAPS = """
import os, signal, sys, time
seen = []
def tell(text): os.write(1, f"{text}\\n".encode())  # print() must not be interrupted by another
for number in (1, 2, 3, 10, 15):
    signal.signal(number, lambda n, _: (seen.append(n), tell(n)))
tell("ready")
while 15 not in seen: time.sleep(0.1)  # pause() would miss a signal just before it
sys.exit(9)
"""


def test_signals_are_the_programs(python: Path) -> None:
    process = subprocess.Popen(
        command(python, "--", "python3", "-c", TRAPS),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGTERM"):
        number = getattr(signal, name)
        process.send_signal(number)
        assert process.stdout.readline() == f"{int(number)}\n"
    assert process.wait(30) == 9


@pytest.mark.parametrize("killed", ["dockerc", "qemu"])
def test_either_is_killed(deb: Path, killed: str) -> None:
    process = subprocess.Popen(
        command(deb, "--", "sh", "-c", "echo ready; sleep 1000"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    (qemu,) = machines(process.pid)
    os.kill(process.pid if killed == "dockerc" else qemu, signal.SIGKILL)
    _, errors = process.communicate(timeout=30)
    assert wait_for(lambda: not _is_alive(qemu))
    if killed == "qemu":
        assert process.returncode == 125
        assert "the machine ended before the program did (QEMU: killed by signal 9)" in errors


def test_it_switches_itself_off(deb: Path) -> None:
    """Where the kernel does not end QEMU with its parent, the machine does."""
    end = "import toolkit.machine.child as c; c._end_with_parent = lambda: None;"
    words = command(deb, "--", "sh", "-c", "echo ready; sleep 1000")
    words[2] = f"{end} {words[2]}"
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    (qemu,) = machines(process.pid)
    process.kill()
    process.communicate()
    assert wait_for(lambda: not _is_alive(qemu), seconds=30)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def test_an_idle_machine_takes_no_time(deb: Path) -> None:
    process = subprocess.Popen(
        command(deb, "--", "sh", "-c", "echo ready; sleep 1000"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        (qemu,) = machines(process.pid)
        assert "\nSeccomp:\t2\n" in Path(f"/proc/{qemu}/status").read_text(), "in its sandbox"
        time.sleep(3)  # what is left of the boot
        before = _ticks(qemu)
        time.sleep(4)
        assert _ticks(qemu) - before < 100, "of 400 hundredths of a second"
    finally:
        process.kill()
        process.communicate()


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[11]) + int(fields[12])


def test_the_other_architecture(tmp_path: Path) -> None:
    """A payload for arm64, on whatever this is."""
    need("qemu-system-aarch64")
    app = tmp_path / "app"
    dockerc("build", "--arch", "arm64", f"oci:{FIXTURES}/hello", "-o", app)
    done = run(app, which=ARM64)
    assert (done.stdout, done.returncode) == ("Hello from dockerc on aarch64\n", 0), done.stderr
