"""The executables themselves, run as root and as an ordinary user."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from images_support import hello_program
from layout import directory, file, symlink, tar_of, write_layout
from leftovers import wait_for
from support import FIXTURES, TESTS, Runner, dockerc, need

from toolkit.executable.executable import open_executable
from toolkit.executable.payload import filesystem_of


def test_the_fixture_greets(run: Runner, hello: Path) -> None:
    done = run(hello)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Hello from dockerc" in done.stdout


NO_FILTER = ["--security-opt", "seccomp=unconfined"]
"""An emulator of programs knows no system call filters."""


def test_the_arm64_executable_greets_under_qemu(place: Path, run: Runner) -> None:
    need("qemu-aarch64-static")
    if not Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists():
        pytest.skip("the kernel does not hand arm64 programs to qemu: the stub starts one")
    output = place / "hello-arm64"
    dockerc("build", f"oci:{FIXTURES}/hello", "--arch", "arm64", "-o", output)
    # qemu has threads of its own, and a process with threads cannot enter a user namespace.
    enter = [] if run.as_root else ["unshare", "-Urm"]
    refused = run(*enter, "qemu-aarch64-static", output)
    assert refused.returncode == 125 and "--security-opt seccomp=unconfined" in refused.stderr
    done = run(*enter, "qemu-aarch64-static", output, *NO_FILTER, "--")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Hello from dockerc on aarch64" in done.stdout


def test_what_an_emulated_stub_s_app_writes_stays(run: Runner, deb: Path) -> None:
    # An emulator cannot make namespaces and a process at once: the watcher must be outside of them.
    need("qemu-x86_64-static")
    enter = [] if run.as_root else ["unshare", "-Urm"]
    script = "echo kept >/srv/x; sleep 0.3; echo /proc/[0-9]*; cat /srv/x"
    words = ["qemu-x86_64-static", deb, *NO_FILTER, "sh", "-c", script]
    done = run(*enter, *words, env={"PATH": os.environ["PATH"], "TMPDIR": "/var/tmp"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "/proc/1\nkept\n", "")


def test_it_is_the_image_s_system(run: Runner, deb: Path) -> None:
    assert "bookworm" in run(deb, "cat", "/etc/os-release").stdout
    assert run(deb, "id", "-u").stdout == "0\n"
    assert run(deb, "pwd").stdout == "/\n"
    assert run(deb, "sh", "-c", "echo $PATH").stdout.startswith("/usr/local/sbin:")


def test_exit_statuses(run: Runner, deb: Path) -> None:
    assert run(deb, "true").returncode == 0
    assert run(deb, "sh", "-c", "exit 7").returncode == 7
    for words, status in ((["no-such-program"], 127), (["/etc/passwd"], 126), (["/etc"], 126)):
        done = run(deb, *words)
        assert done.returncode == status
        assert done.stderr.startswith("dockerc: ") and words[0] in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_usage_errors_of_the_runtime_have_status_125(run: Runner, deb: Path) -> None:
    for words in (["--nonsense"], ["-v"], ["-v", "/no/such/dir:relative"], ["-e"]):
        done = run(deb, *words)
        assert done.returncode == 125, words
        assert done.stderr.startswith("dockerc: ") and len(done.stderr.splitlines()) == 1


def test_standard_streams_are_the_app_s(run: Runner, deb: Path) -> None:
    assert run(deb, "cat", input="hi\n").stdout == "hi\n"
    big = "x" * 5_000_000
    assert run(deb, "cat", input=big).stdout == big
    done = run(deb, "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    closed = subprocess.run(
        run.command("sh", "-c", 'exec "$0" sh -c "echo still here" <&-', deb),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert closed.stdout == "still here\n"


def test_no_descriptor_of_ours_reaches_the_app(run: Runner, deb: Path) -> None:
    listed = run(deb, "sh", "-c", "ls /proc/self/fd | tr '\\n' ' '").stdout
    assert listed == "0 1 2 3 "


def test_environment(run: Runner, deb: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "FROM_CALLER": "called", "OTHER": "hidden"}
    words = ["-e", "A=1", "--env", "B=2", "--env=C=3", "-eD=4", "-e", "FROM_CALLER", "-e", "NO"]
    told = run(deb, *words, "env", env=environment).stdout.splitlines()
    assert {"A=1", "B=2", "C=3", "D=4", "FROM_CALLER=called", "HOME=/root"} <= set(told)
    assert not [line for line in told if line.startswith(("NO", "OTHER", "LD_", "DOCKERC"))]


def test_variables_as_docker_sets_them(run: Runner, deb: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "TERM": "vt220", "HOSTNAME": "caller"}
    told = run(deb, "env", env=environment).stdout.splitlines()
    assert f"HOSTNAME={socket.gethostname()}" in told
    # There is no terminal.
    assert not [line for line in told if line.startswith("TERM=")]
    assert "HOSTNAME=box" in run(deb, "-h", "box", "env").stdout.splitlines()
    assert "HOSTNAME=x" in run(deb, "-h", "box", "-e", "HOSTNAME=x", "env").stdout.splitlines()
    script = f"TERM=vt220 script -qec '{deb} env' /dev/null"
    assert "TERM=vt220" in run("sh", "-c", script).stdout.splitlines()


def test_flags_after_the_first_word_are_the_app_s(run: Runner, deb: Path) -> None:
    assert run(deb, "echo", "-e", "A=1", "-v", "x").stdout.strip() == "A=1 -v x"
    assert run(deb, "--", "echo", "--", "-v").stdout == "-- -v\n"


def test_volumes(run: Runner, deb: Path, shared: Path) -> None:
    (shared / "file").write_text("from outside\n")
    assert run(deb, "-v", f"{shared}:/data", "cat", "/data/file").stdout == "from outside\n"
    assert run(deb, "-v", ".:/data", "--", "cat", "/data/file", cwd=shared).stdout
    assert run(deb, "-v", "./file:/etc/motd", "cat", "/etc/motd", cwd=shared).stdout
    done = run(deb, "-v", f"{shared}:/data", "sh", "-c", "echo new > /data/new")
    assert (done.returncode, (shared / "new").read_text()) == (0, "new\n")
    done = run(deb, f"--volume={shared}:/data:ro", "sh", "-c", "echo x > /data/other")
    assert done.returncode != 0 and "Read-only" in done.stderr
    assert not (shared / "other").exists()


def test_a_symlink_in_the_image_cannot_redirect_a_volume(
    run: Runner, shared: Path, place: Path
) -> None:
    elsewhere = shared / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    (shared / "volume").mkdir(mode=0o755)
    layer = tar_of(
        directory("bin"),
        file("bin/hello", hello_program(), mode=0o755),
        symlink("data", str(elsewhere)),
        symlink("up", "../../../../../.." + str(elsewhere)),
    )
    layout = write_layout(shared / "layout", [layer], {"Entrypoint": ["/bin/hello"]})
    dockerc("build", f"oci:{layout}", "-o", shared / "app")
    for target in ("/data/inner", "/up/inner"):
        done = run(shared / "app", "-v", f"{shared / 'volume'}:{target}", "--")
        assert done.returncode in (0, 125)
        assert list(elsewhere.iterdir()) == []


def test_writes_work_and_vanish(run: Runner, deb: Path) -> None:
    script = """
        set -e
        echo changed > /etc/motd; rm /bin/ls; mv /etc/debian_version /etc/renamed
        mkdir /srv/new; chmod 700 /etc/apt; ln /etc/passwd /etc/linked; echo more >> /etc/linked
        cat /etc/motd; tail -1 /etc/passwd; test ! -e /bin/ls; rm -r /usr/share/doc
        dd if=/dev/zero of=/big bs=1M count=20 2>/dev/null; stat -c %s /big
    """
    done = run(deb, "sh", "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "changed\nmore\n20971520\n", "")
    done = run(deb, "sh", "-c", "ls /bin/ls; test ! -e /srv/new && cat /etc/motd | grep -c changed")
    assert done.stdout == "/bin/ls\n0\n"


def test_the_whole_tree_reads_as_it_was_written(run: Runner, deb: Path, tmp_path: Path) -> None:
    need("unsquashfs")
    dockerc("extract", deb, tmp_path / "sqfs")
    command = [
        "unsquashfs",
        "-no-progress",
        "-no-xattrs",
        "-d",
        tmp_path / "out",
        tmp_path / "sqfs",
    ]
    subprocess.run(command, capture_output=True)
    script = "cd %s && find bin/ etc usr var -xdev -type f | LC_ALL=C sort | xargs -d '\\n' md5sum"
    outside = subprocess.run(
        ["sh", "-c", script % (tmp_path / "out" / "rootfs")], capture_output=True, text=True
    )
    inside = run(deb, "sh", "-c", script % "/")
    # With all attributes known, small files are put into the cache before they are asked for.
    ahead = run(deb, "sh", "-c", "ls -lR /bin/ /etc /usr /var >/dev/null; " + script % "/")
    skipped = ("etc/resolv.conf", "etc/hosts", "etc/hostname", "etc/mtab")
    keep = [
        [line for line in text.splitlines() if not line.endswith(skipped)]
        for text in (outside.stdout, inside.stdout, ahead.stdout)
    ]
    assert len(keep[0]) > 5000
    assert keep[0] == keep[1] == keep[2]


def test_the_container_is_one(run: Runner, deb: Path) -> None:
    assert run(deb, "sh", "-c", "echo $$").stdout == "1\n"
    listed = run(deb, "ls", "/dev").stdout.split()
    assert {"null", "zero", "full", "random", "urandom", "tty", "pts", "shm", "fd"} <= set(listed)
    assert run(deb, "sh", "-c", "echo x > /dev/null && head -c 3 /dev/zero | wc -c").stdout == "3\n"
    assert run(deb, "sh", "-c", "ls -d /proc/[0-9]* | wc -l").stdout.strip() in ("2", "3")
    for forbidden in ("mount -t tmpfs none /mnt", "echo 1 > /proc/sys/kernel/core_pattern"):
        assert run(deb, "sh", "-c", forbidden).returncode != 0
    status = run(deb, "cat", "/proc/self/status").stdout
    assert "Seccomp:\t2\n" in status
    assert "CapEff:\t00000000a80425fb\n" in status


def test_the_caller_s_umask_is_not_the_app_s(run: Runner, deb: Path, place: Path) -> None:
    script = "umask; cd /made/for/it && stat -c %a . .. /volume"
    words = ["-w", "/made/for/it", "-v", f"{place}:/volume/it", "-u", "daemon"]
    done = run("sh", "-c", 'umask 077; exec "$@"', "-", deb, *words, "sh", "-c", script)
    assert (done.returncode, done.stdout) == (0, "0022\n755\n755\n755\n"), done.stderr
    words = ["--add-host", "a:1.2.3.4", "-u", "daemon", "--", "grep", "-w", "a", "/etc/hosts"]
    done = run("sh", "-c", 'umask 077; exec "$@"', "-", deb, *words)
    assert done.stdout == "1.2.3.4\ta\n", done.stderr


IGNORE = "import os, sys, signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "


def test_a_caller_that_ignores_the_ends_of_its_children(run: Runner, deb: Path) -> None:
    words = ["-c", IGNORE + "os.execv(sys.argv[1], sys.argv[1:])", deb, "sh", "-c", "exit 7"]
    done = run("/usr/bin/python3", *words, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


def test_it_starts_through_path(run: Runner, deb: Path) -> None:
    done = run("sh", "-c", "deb echo found", env={"PATH": f"{deb.parent}:/usr/bin:/bin"})
    assert done.stdout == "found\n"


def test_version_and_help(run: Runner, hello: Path) -> None:
    assert run(hello, "--dockerc-version").stdout.startswith("dockerc runtime ")
    assert "--volume" in run(hello, "--dockerc-help").stdout
    # Whoever gets the file alone must get the notices, too.
    licences = run(hello, "--dockerc-licenses").stdout
    for name in ("NOTICE", "LICENSE"):
        assert (TESTS.parent / "runtimes" / name).read_text() in licences


def test_sub_ids_keep_owners(deb: Path, run_as_user: Runner, shared: Path) -> None:
    need("newuidmap")
    done = run_as_user(deb, "stat", "-c", "%U:%G", "/etc/shadow", "/etc/passwd")
    assert done.stdout == "root:shadow\nroot:root\n"


def test_without_sub_ids_it_says_so_once_and_goes_on(deb: Path) -> None:
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("taking another user id wants root")
    user = ["setpriv", "--reuid", "23456", "--regid", "23456", "--clear-groups"]
    done = subprocess.run([*user, deb, "id", "-u"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
    # People are told, once, with the way out of it; pipelines and logs are not.
    on_terminal = [*user, "script", "-qec", f"{deb} id -u", "/dev/null"]
    done = subprocess.run(on_terminal, capture_output=True, text=True, timeout=60)
    note = done.stdout.splitlines()[0]
    assert "/etc/subuid has no range for you" in note and "usermod --add-subuids" in note
    quiet = {**os.environ, "DOCKERC_LOG": "quiet"}
    done = subprocess.run(on_terminal, capture_output=True, text=True, timeout=60, env=quiet)
    assert done.returncode == 0 and "subuid" not in done.stdout


def test_an_image_s_user_who_is_not_root(images: Path, run: Runner, shared: Path) -> None:
    app = shared / "www"
    dockerc("build", f"oci:{images}/debian", "-o", app, "--user", "www-data")
    assert run(app, "id", "-un").stdout == "www-data\n"
    status = run(app, "cat", "/proc/self/status").stdout
    assert "CapEff:\t0000000000000000\n" in status
    assert "CapBnd:\t00000000a80425fb\n" in status


def test_files_written_to_a_volume_belong_to_the_caller(
    hello: Path, run_as_user: Runner, deb: Path, shared: Path
) -> None:
    run_as_user(deb, "-v", f"{shared}:/data", "touch", "/data/mine")
    expected = int(run_as_user("id", "-u").stdout)
    assert (shared / "mine").stat().st_uid == expected


def test_ten_at_once(deb: Path, run_as_user: Runner) -> None:
    command = run_as_user.command(deb, "sh", "-c", "cat /usr/bin/* | wc -c")
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(10)]
    results = {process.communicate()[0] for process in running}
    assert len(results) == 1 and all(process.returncode == 0 for process in running)


def test_forbidden_user_namespaces_get_a_note(hello: Path, shared: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can forbid user namespaces")
    # Forbidden in a user namespace of the test's own, where all ids are mapped to themselves. The
    # second shell is root there by its execve, which came after the mapping.
    inner = (
        "echo 0 >/proc/sys/user/max_user_namespaces;"
        f" HOME={shared} exec setpriv --reuid 12345 --regid 12345 --clear-groups {hello}"
    )
    with subprocess.Popen(
        ["unshare", "-U", "sh", "-c", f"read mapped; exec sh -c '{inner}'"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        outside = Path("/proc/self/ns/user").readlink()
        own = Path(f"/proc/{process.pid}")
        assert wait_for(lambda: (own / "ns/user").readlink() != outside)
        for ids in ("uid_map", "gid_map"):
            (own / ids).write_text("0 0 100000")
        _, told = process.communicate("\n", timeout=60)
    assert process.returncode == 0
    assert "not isolated" in told and len(told.splitlines()) == 1


def test_a_corrupt_block_is_an_error_for_the_reader_only(
    deb: Path, run_as_user: Runner, shared: Path
) -> None:
    damaged = shared / "damaged"
    data = bytearray(deb.read_bytes())
    third = len(data) // 3
    data[third : third + 200_000] = b"\x55" * 200_000
    damaged.write_bytes(data)
    damaged.chmod(0o755)
    done = run_as_user(damaged, "sh", "-c", "cat /usr/bin/* /usr/lib/*/* >/dev/null; echo alive")
    assert "alive" in done.stdout
    assert "Input/output error" in done.stderr


def test_what_stands_before_the_damage_in_a_block_is_read(
    run_as_user: Runner, shared: Path
) -> None:
    """Small files share a block: it is decoded as far as wanted, and to its end afterwards."""
    words = [
        f"{number} and {number * number} make {number + number * number}\n"
        for number in range(60_000)
    ]
    early = {f"a{i:02d}": "".join(words[i * 40 : (i + 1) * 40]).encode() for i in range(30)}
    late = "".join(words[2000:12000]).encode()
    links = [symlink(name, f"usr/{name}") for name in ("bin", "lib", "lib64")]
    files = [file(name, data) for name, data in {**early, "z": late}.items()]
    layout = write_layout(shared / "layout", [tar_of(*links, *files)])
    app = shared / "damaged"
    dockerc("build", "--no-cache", f"oci:{layout}", "-o", app)
    with open_executable(app) as executable:
        filesystem = filesystem_of(executable)
        blocks = {
            filesystem.fragment(each.fragment)
            for name in ("a00", "a29", "z")
            if (each := filesystem.find(f"rootfs/{name}".encode()))
        }
        start = executable.footer.offset
    # All in one block.
    ((at, size),) = blocks
    with app.open("r+b") as damaged:
        damaged.seek(start + at + size - size // 8)
        damaged.write(b"\x55" * (size // 16))
    script = (
        "for name in /a*; do cat $name >/tmp/${name#/} & done; wait; cat /tmp/a*; "
        "cat /z >/dev/null; echo alive"
    )
    done = run_as_user(app, "-v", "/usr:/usr:ro", "--tmpfs", "/tmp", "/bin/sh", "-c", script)
    assert done.stdout == "".join(data.decode() for data in early.values()) + "alive\n"
    assert "Input/output error" in done.stderr
