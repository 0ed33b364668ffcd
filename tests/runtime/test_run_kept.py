"""What stays on the machine when a run is over: whose it is, who may enter it, what is in it."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
from images_support import hello_program
from layout import directory, entry, file, noise, tar_of, write_layout
from leftovers import own_machine
from support import Runner, dockerc, need, with_config
from test_run_fallback import HIDE, fuseless
from test_run_flags import refused, said

CAPABILITY = b"\x01\0\0\x02\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
"""security.capability of a program that may bind low ports (linux/capability.h, revision 2)."""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# --overlay DIR


def test_what_is_kept_is_for_nobody_else(run: Runner, deb: Path, shared: Path) -> None:
    keep = shared / "keep"
    script = "cp /bin/sh /srv/sh && chmod 4755 /srv/sh"
    said(run, deb, "--overlay", keep, "sh", "-c", script)
    assert mode(keep) == 0o700
    assert mode(keep / "upper/srv/sh") == 0o4755
    # And again.
    assert said(run, deb, "--overlay", keep, "stat", "-c", "%a", "/srv/sh") == "4755\n"


@pytest.mark.parametrize("open_to_others", [0o755, 0o750, 0o701, 0o770])
def test_a_directory_that_others_may_enter_is_refused(
    run: Runner, deb: Path, shared: Path, open_to_others: int
) -> None:
    keep = shared / "keep"
    assert run("mkdir", "-m", f"{open_to_others:o}", keep).returncode == 0
    sentence = refused(run, deb, "--overlay", keep, "touch", "/x")
    assert "others may enter it" in sentence and "chmod 700" in sentence
    assert mode(keep) == open_to_others
    assert list(keep.iterdir()) == []


def test_a_link_in_it_leads_nowhere(run: Runner, deb: Path, shared: Path) -> None:
    other = shared / "keep/other"
    assert run("mkdir", "-m", "700", shared / "keep", other).returncode == 0
    assert run("ln", "-s", "other", shared / "keep/upper").returncode == 0
    before = other.stat()
    sentence = refused(run, deb, "--overlay", shared / "keep", "true")
    assert "cannot mount an overlayfs that keeps what is written" in sentence
    after = other.stat()
    assert (after.st_mode, after.st_mtime) == (before.st_mode, before.st_mtime)


def test_a_pipe_in_it_keeps_nobody_waiting(run: Runner, deb: Path, shared: Path) -> None:
    assert run("mkdir", "-m", "700", shared / "keep").returncode == 0
    assert run("mkfifo", shared / "keep/image").returncode == 0
    done = run(deb, "--overlay", shared / "keep", "echo", "ran", timeout=60)
    assert (done.returncode, done.stdout) == (0, "ran\n"), done.stderr


def test_another_user_s_directory_is_refused(run: Runner, deb: Path, shared: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory to another user")
    keep = shared / "keep"
    keep.mkdir()
    os.chown(keep, 4242, 4242)
    keep.chmod(0o777)
    assert "belongs to another user" in refused(run, deb, "--overlay", keep, "touch", "/x")
    # Whose ids the user namespace has a name for, which is that of all that it has none for.
    assert "belongs to another user" in refused(
        run, deb, "-u", "65534:65534", "--overlay", keep, "touch", "/x"
    )
    assert list(keep.iterdir()) == []


def test_a_directory_is_of_one_run_at_a_time(run: Runner, deb: Path, shared: Path) -> None:
    keep = shared / "keep"
    command = run.command(deb, "--overlay", keep, "sh", "-c", "echo up; read x; echo x >/srv/x")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert "another run uses it" in refused(run, deb, "--overlay", keep, "true")
        # Others are not disturbed.
        said(run, deb, "--overlay", shared / "other", "true")
        process.stdin.write("on\n")
        process.stdin.close()
        assert process.wait(timeout=60) == 0
    assert said(run, deb, "--overlay", keep, "cat", "/srv/x") == "x\n"


def test_a_directory_is_of_one_image(run: Runner, deb: Path, hello: Path, shared: Path) -> None:
    keep = shared / "keep"
    said(run, deb, "--overlay", keep, "sh", "-c", "echo kept >/srv/x")
    sentence = refused(run, hello, "--overlay", keep, "--")
    assert "another image" in sentence and sentence.count("sha256:") == 2
    # The same image with another configuration or another runtime is the same image.
    dockerc("edit", deb, shared / "edited", "-e", "A=1")
    assert said(run, shared / "edited", "--overlay", keep, "cat", "/srv/x") == "kept\n"
    # Of a version that did not write the image's digest.
    (keep / "image").unlink()
    assert said(run, deb, "--overlay", keep, "cat", "/srv/x") == "kept\n"
    assert "another image" in refused(run, hello, "--overlay", keep, "--")


# --dockerc-extract


@pytest.fixture
def privileged(shared: Path) -> Path:
    """An image with all that is not for everybody."""
    capability = CAPABILITY.decode("utf-8", "surrogateescape")
    attributes = {
        "SCHILY.xattr.security.capability": capability,
        "SCHILY.xattr.user.kept": "yes",
    }
    layer = tar_of(
        directory("d", mode=0o2775),
        entry("d/disk", tarfile.BLKTYPE, devmajor=7, devminor=99, mode=0o666),
        entry("d/mem", tarfile.CHRTYPE, devmajor=1, devminor=1, mode=0o666),
        entry("d/pipe", tarfile.FIFOTYPE),
        file("d/su", b"su", mode=0o4755),
        file("d/sg", b"sg", mode=0o2755),
        file("d/ping", b"ping", mode=0o755, pax_headers=attributes),
        directory("tmp", mode=0o1777),
    )
    layout = write_layout(shared / "layout", [layer], {"Entrypoint": ["/bin/hello"]})
    dockerc("build", f"oci:{layout}", "-o", shared / "app", "--args", "docker")
    return shared / "app"


def test_privileged_files_come_out_on_request_only(
    run: Runner, privileged: Path, shared: Path
) -> None:
    out = shared / "out"
    done = run(privileged, "--dockerc-extract", out)
    assert (done.returncode, done.stdout) == (0, "")
    (note,) = done.stderr.splitlines()
    assert "without 6 device nodes, set-id bits and security attributes" in note
    assert "--dockerc-privileged-files" in note
    tree = out / "rootfs"
    assert mode(out) == 0o700
    assert sorted(path.name for path in (tree / "d").iterdir()) == ["ping", "pipe", "sg", "su"]
    assert {mode(path) for path in (tree / "d", *(tree / "d").iterdir())} == {0o775, 0o755, 0o644}
    assert mode(tree / "tmp") == 0o1777
    assert stat.S_ISFIFO((tree / "d/pipe").stat().st_mode)
    assert os.listxattr(tree / "d/ping") == ["user.kept"]


def test_privileged_files_come_out_where_they_are_asked_for(
    run: Runner, privileged: Path, shared: Path
) -> None:
    out = shared / "out"
    done = run(privileged, "--dockerc-privileged-files", "--dockerc-extract", out)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    tree = out / "rootfs/d"
    assert mode(out) == 0o700
    assert (mode(tree), mode(tree / "su"), mode(tree / "sg")) == (0o2775, 0o4755, 0o2755)
    if run.as_root:
        assert (tree / "mem").stat().st_rdev == os.makedev(1, 1)
        assert stat.S_ISBLK((tree / "disk").stat().st_mode)
        assert os.getxattr(tree / "ping", "security.capability") == CAPABILITY


def test_unpacking_opens_no_device_and_follows_no_path(
    run: Runner, privileged: Path, shared: Path
) -> None:
    need("strace")
    trace = shared / "trace"
    words = ["strace", "-f", "-qq", "-e", "trace=file,fchmod,fchown", "-o", trace]
    options = ["--dockerc-privileged-files", "--dockerc-extract", "out"]
    done = run(*words, privileged, *options, cwd=shared)
    assert done.returncode == 0, done.stderr
    told = trace.read_text()
    paths = [re.findall(r'"((?:[^"\\]|\\.)*)"', line) for line in told.splitlines()]
    inside = [path for path in paths if path and not path[0].startswith("/")]
    assert {"rootfs", "d", "ping", "su"} <= {path for line in inside for path in line}
    assert not [line for line in inside if any("/" in path for path in line)]
    assert not re.search(r'open\w*\(.*"(disk|mem|pipe)"', told)


def test_what_cannot_be_unpacked_whole_is_not_there(run: Runner, deb: Path, shared: Path) -> None:
    command = 'ulimit -f 64; trap "" XFSZ; exec "$@"'
    done = run("sh", "-c", command, "-", deb, "--dockerc-extract", shared / "out")
    assert done.returncode == 125 and "too large" in done.stderr
    assert not (shared / "out").exists()


# The cache of unpacked payloads


def test_another_payload_is_not_taken_for_one_that_was_unpacked(run: Runner, shared: Path) -> None:
    """Of the same configuration, whatever digest it claims, and of the same sizes and times."""
    apps = []
    for name in ("one", "two"):
        # What is not compressed has the same size.
        content = noise(5000, seed=len(apps))
        layer = tar_of(
            directory("bin"), file("bin/hello", hello_program(), mode=0o755), file("x", content)
        )
        layout = write_layout(shared / name, [layer], {"Entrypoint": ["/bin/hello"]})
        dockerc("build", f"oci:{layout}", "-o", shared / f"{name}.app", "--args", "docker")
        apps.append((shared / f"{name}.app", content))
    config = json.loads(dockerc("inspect", "--config", apps[0][0]).stdout)
    assert config["annotations"]["dev.dockerc.digest"]
    environment = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(shared)}
    root = Runner(as_root=True)
    for app, content in apps:
        same = with_config(app, config, app.with_suffix(".same"))
        command = fuseless(run, same, "cat", "/x")
        done = root(*command, env=environment, text=False)
        assert (done.returncode, done.stdout) == (0, content), done.stderr
    assert len(unpacked(shared / "dockerc/run")) == 2


def unpacked(cache: Path) -> list[Path]:
    """The payloads in it, without the names that are remembered for files."""
    return [path for path in cache.iterdir() if not path.name.startswith("file-")]


def uid_of(run: Runner) -> str:
    return run("id", "-u").stdout.strip()


@pytest.mark.parametrize("around", [[], ["unshare", "-Ur"]])
def test_the_fall_back_directory_is_named_by_the_caller(
    run: Runner, hello: Path, around: list[str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can take /dev/fuse from others")
    with own_machine():
        before = set(Path("/var/tmp").iterdir())
        command = run.command(*around, hello)
        words = ["unshare", "-m", "sh", "-c", f'{HIDE}; exec "$@"', "-", *command]
        done = subprocess.run(words, capture_output=True, env={"PATH": os.environ["PATH"]})
        assert done.returncode == 0, done.stderr
        (made,) = set(Path("/var/tmp").iterdir()) - before
        assert made.name == f"dockerc-{uid_of(run)}"
        assert (mode(made), mode(made / "run")) == (0o700, 0o700)
        assert made.stat().st_uid == int(uid_of(run))


def test_nobody_locks_others_out_of_the_fall_back_directory(hello: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be several users")
    with own_machine():
        for uid in ("4242", "4243"):
            user = ["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups"]
            words = ["unshare", "-m", "sh", "-c", f'{HIDE}; exec "$@"', "-", *user, str(hello)]
            environment = {"PATH": os.environ["PATH"], "DOCKERC_LOG": "debug"}
            done = subprocess.run(words, capture_output=True, env=environment, text=True)
            assert done.returncode == 0 and "cache at /var/tmp\n" in done.stderr, done.stderr
            assert len(unpacked(Path(f"/var/tmp/dockerc-{uid}/run"))) == 1
        assert not Path("/var/tmp/dockerc-0").exists()


@pytest.mark.parametrize("trap", ["link", "open", "others"])
def test_a_directory_that_is_not_ours_alone_is_no_cache(
    run: Runner, hello: Path, shared: Path, trap: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make another user's directory")
    bait, name = shared / "bait", shared / "dockerc"
    assert run("mkdir", "-p", bait / "run").returncode == 0
    if trap == "link":
        name.symlink_to(bait)
    else:
        bait.rename(name)
        bait = name
    if trap == "open":
        (bait / "run").chmod(0o777)
    if trap == "others":
        os.chown(bait / "run", 4242, 4242)
    environment = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(shared)}
    environment |= {"HOME": str(shared / "home"), "DOCKERC_LOG": "debug"}
    done = Runner(as_root=True)(*fuseless(run, hello), env=environment)
    assert done.returncode == 0 and f"no cache at {shared}:" in done.stderr
    assert list((bait / "run").iterdir()) == []
