"""Recorded starts: what a profile holds, who may write it where, and what a start with one does."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from images_support import hello_program
from layout import directory, file, tar_of, write_layout
from leftovers import own_machine, wait_for
from support import TESTS, TOOL, Runner, dockerc, failed, need
from test_run_calls import calls
from test_run_fallback import fuseless
from test_run_flags import refused, said

from toolkit.bundle.profile import Use, parse

SCRIPT = "cat /etc/passwd /etc/debian_version; ls /etc/apt; test -e /nope"
HASHES = "cat /usr/bin/* /usr/lib/x86_64-linux-gnu/*.so* 2>/dev/null | sha256sum"
REFUSING = [sys.executable, str(TESTS / "refusing.py")]


@pytest.fixture(scope="module")
def recording(deb: Path, place: Path) -> Path:
    """Of a start that reads most of what is in two directories, and a script before it."""
    profile = place / "recorded.profile"
    dockerc("record", "-o", profile, deb, "--", "sh", "-c", f"{SCRIPT}; {HASHES}")
    return profile


@pytest.fixture(scope="module")
def prepared(images: Path, recording: Path, place: Path) -> Path:
    output = place / "prepared"
    dockerc("build", f"oci:{images}/debian", "--profile", recording, "-o", output)
    return output


def test_a_profile_has_what_was_used(run: Runner, deb: Path, shared: Path) -> None:
    profile = shared / "p"
    done = run(deb, "--dockerc-record", profile, "sh", "-c", f"{SCRIPT}; exit 7")
    assert done.returncode == 7 and done.stderr == "", done
    assert done.stdout.startswith("root:x:0:0:")
    assert sorted(path.name for path in shared.iterdir()) == ["p"]
    assert profile.stat().st_uid == (0 if run.as_root else int(run("id", "-u").stdout))
    (start,) = parse(profile.read_bytes())
    assert start.program == b"usr/bin/dash"
    uses = {(line.use, line.path) for line in start.lines}
    assert len(uses) > 20 and (Use.NAME, b"usr/bin/dash") in uses
    assert {(Use.READ, b"etc/passwd"), (Use.READ, b"usr/bin/cat"), (Use.LIST, b"etc/apt")} <= uses
    assert {(Use.NONE, b"nope"), (Use.NAME, b"etc/debian_version")} <= uses
    # In the order of first use.
    paths = [line.path for line in start.lines if line.use is Use.READ]
    assert paths.index(b"usr/bin/dash") < paths.index(b"usr/bin/cat") < paths.index(b"etc/passwd")
    # What is not used is not there: nothing was read ahead.
    assert b"usr/bin/bash" not in paths
    assert not [line for line in start.lines if line.path.startswith(b"usr/share/doc")]


def test_names_that_are_no_text(run_as_user: Runner, shared: Path) -> None:
    odd = b"a\nb\\c\x7f\xff"
    layer = tar_of(
        directory("bin"),
        file("bin/hello", hello_program(), mode=0o755),
        file(f"bin/{os.fsdecode(odd)}", hello_program(), mode=0o755),
    )
    layout = write_layout(shared / "layout", [layer], {"Cmd": ["/bin/hello"]})
    app = shared / "app"
    dockerc("build", f"oci:{layout}", "-o", app)
    said(run_as_user, app, "--dockerc-record", shared / "p", os.fsdecode(b"/bin/" + odd))
    text = (shared / "p").read_bytes()
    name = b"/bin/a\\x0ab\\x5cc\\x7f\xff\n"
    assert b"start " + name in text and b"name " + name in text
    (start,) = parse(text)
    assert start.program == b"bin/" + odd
    dockerc("edit", app, shared / "new", "--profile", shared / "p")
    told = json.loads(dockerc("inspect", "--json", shared / "new").stdout)["profile"]["starts"]
    assert told[0]["names"] > 0
    said(run_as_user, shared / "new", os.fsdecode(b"/bin/" + odd))


@pytest.mark.parametrize("name", ["-", "missing/p", "p/", "..", "directory", "link", "pipe"])
def test_where_no_profile_is_written(run: Runner, deb: Path, shared: Path, name: str) -> None:
    other = shared / "other"
    other.write_text("mine\n")
    other.chmod(0o666)
    (shared / "directory").mkdir()
    (shared / "link").symlink_to("other")
    os.mkfifo(shared / "pipe")
    before = sorted(shared.iterdir())
    if name == "-":
        said(run, deb, "--dockerc-record", name, "true", cwd=shared)  # a name like others
        assert (shared / name).is_file()
        return
    sentence = refused(run, deb, "--dockerc-record", f"{shared}/{name}", "true")
    assert f"--dockerc-record {shared}/{name}: " in sentence
    assert sorted(shared.iterdir()) == before and other.read_text() == "mine\n"


def test_a_directory_of_somebody_else(run_as_user: Runner, deb: Path, place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs a directory of another user")
    assert "permission denied" in refused(
        run_as_user, deb, "--dockerc-record", place / "profile-of-nobody", "true"
    )
    assert not (place / "profile-of-nobody").exists()


def test_a_profile_that_is_there_is_replaced(run: Runner, deb: Path, shared: Path) -> None:
    (shared / "p").write_text("old")
    (shared / "hard").hardlink_to(shared / "p")
    said(run, deb, "--dockerc-record", shared / "p", "true")
    assert (shared / "p").read_bytes().startswith(b"# dockerc profile 1\n")
    assert (shared / "hard").read_text() == "old"
    assert stat.S_IMODE((shared / "p").stat().st_mode) == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_program_cannot_move_the_profile(run: Runner, deb: Path, shared: Path) -> None:
    """The directory is opened before the program runs, and nothing in it is followed."""
    script = "mv /d/p /d/q 2>/dev/null; ln -s /etc/passwd /d/p"
    said(run, deb, "-v", f"{shared}:/d", "--dockerc-record", shared / "p", "sh", "-c", script)
    assert (shared / "p").is_file() and not (shared / "p").is_symlink()
    assert (shared / "p").read_bytes().startswith(b"# dockerc profile 1\n")


def test_it_is_the_caller_s_option_alone(images: Path, deb: Path, shared: Path) -> None:
    failed("build", f"oci:{images}/debian", "--dockerc-record", "x", "-o", shared / "app", status=2)
    failed("edit", deb, shared / "app", "--dockerc-record", "x", status=2)


@pytest.mark.root("mounts a file system")
def test_a_full_disk_is_told(deb: Path, tmp_path: Path) -> None:
    """The streams are the program's by then."""
    script = (
        "mount -t tmpfs -o size=64k full $1 && ! head -c 65536 /dev/zero >$1/fill;"
        ' "$2" --dockerc-record $1/profile true; ls $1'
    )
    words = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "-", tmp_path, deb]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert f"--dockerc-record {tmp_path}/profile: no space left" in done.stderr
    assert done.stdout == "fill\n"


def test_a_killed_start_leaves_nothing(run: Runner, deb: Path, shared: Path) -> None:
    command = run.command(deb, "--dockerc-record", shared / "p", "sleep", "60")
    with subprocess.Popen(command, start_new_session=True) as process:
        time.sleep(1)
        process.kill()
    assert list(shared.iterdir()) == []


def test_nothing_can_be_recorded_without_fuse(run: Runner, deb: Path, shared: Path) -> None:
    done = Runner(as_root=True)(*fuseless(run, deb, "--dockerc-record", shared / "p", "true"))
    assert done.returncode == 125 and "nothing can be recorded" in done.stderr
    assert list(shared.iterdir()) == []


def test_a_program_that_is_not_there(run: Runner, deb: Path, shared: Path) -> None:
    done = run(deb, "--dockerc-record", shared / "p", "nosuch")
    assert done.returncode == 127 and "nosuch is not in the image" in done.stderr
    assert list(shared.iterdir()) == []


# With a profile


def test_the_image_is_the_same(
    run: Runner, deb: Path, prepared: Path, recording: Path, images: Path, shared: Path
) -> None:
    assert dockerc("verify", prepared).returncode == 0
    changes = json.loads(dockerc("diff", "--json", deb, prepared, check=False).stdout)
    assert changes["files"] == [] and list(changes["config"]) == ["annotations.dev.dockerc.profile"]
    assert prepared.stat().st_size <= 1.02 * deb.stat().st_size
    dockerc("build", f"oci:{images}/debian", "--profile", recording, "-o", shared / "again")
    assert (shared / "again").read_bytes() == prepared.read_bytes()
    # The program sees nothing of it.
    assert said(run, prepared, "ls", "/") == said(run, deb, "ls", "/")
    for words in ([HASHES], [f"{SCRIPT}; {HASHES}"], [f"{HASHES}; {SCRIPT}"]):
        results = [run(app, "sh", "-c", *words) for app in (deb, prepared)]
        assert results[0].stdout == results[1].stdout != "" and results[0].returncode < 2
        assert [done.stderr for done in results] == ["", ""]


def test_the_list_is_worked_through(run: Runner, prepared: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "DOCKERC_LOG": "debug"}
    for _ in range(5):  # a program may end before
        done = run(prepared, "sh", "-c", f"{SCRIPT}; {HASHES}; sleep 1", env=environment)
        if "start list: done" in done.stderr:
            return
    pytest.fail(done.stderr)


def test_another_program_has_no_list(run: Runner, prepared: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "DOCKERC_LOG": "debug"}
    done = run(prepared, "sleep", "0.2", env=environment)
    assert done.returncode == 0 and "start list" not in done.stderr


def test_inspect_tells_of_the_profile(prepared: Path, deb: Path) -> None:
    told = json.loads(dockerc("inspect", "--json", prepared).stdout)["profile"]
    assert told["digest"].startswith("sha256:")
    (start,) = told["starts"]
    assert start["program"] == "/usr/bin/dash"
    assert start["names"] > 20 and start["files"] > 20 and start["bytes"] > 1 << 20
    assert json.loads(dockerc("inspect", "--json", deb).stdout)["profile"] is None


@pytest.mark.parametrize("words", [["-e", "A=1"], []])
def test_edit_prepares_what_is_there(
    run: Runner, deb: Path, prepared: Path, recording: Path, shared: Path, words: list[str]
) -> None:
    new = shared / "new"
    dockerc("edit", deb, new, "--profile", recording, *words)
    assert dockerc("verify", new).returncode == 0
    assert new.stat().st_size <= 1.02 * deb.stat().st_size
    assert said(run, new, "sh", "-c", HASHES) == said(run, deb, "sh", "-c", HASHES)
    both = [json.loads(dockerc("inspect", "--json", app).stdout) for app in (new, prepared)]
    assert both[0]["profile"] == both[1]["profile"]
    # Again, and with a file more: the list is for the files as they are then.
    (shared / "file").write_text("more\n")
    dockerc("cp", shared / "file", f"{new}:/aaa", shared / "more")
    dockerc("edit", shared / "more", shared / "more", "--profile", recording, "-e", "B=2")
    for app in (shared / "more", new):
        assert dockerc("verify", app).returncode == 0
    assert said(run, shared / "more", "sh", "-c", "cat /aaa; echo $B") == "more\n2\n"


def test_a_profile_of_another_image(images: Path, recording: Path, shared: Path) -> None:
    layer = tar_of(directory("usr"), directory("usr/bin"), file("usr/bin/dash", b"#!", mode=0o755))
    layout = write_layout(shared / "layout", [layer], {"Cmd": ["/bin/sh"]})
    done = dockerc("build", f"oci:{layout}", "--profile", recording, "-o", shared / "app")
    notes = [line for line in done.stderr.splitlines() if "note:" in line]
    assert len(notes) == 1 and "paths of the profile are not in this image" in notes[0]
    assert dockerc("verify", shared / "app").returncode == 0


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS", "EACCES", "0"])
@pytest.mark.parametrize("call", ["openat2", "readlinkat", "getdents64"])
def test_refused_calls(run: Runner, prepared: Path, call: str, error: str) -> None:
    words = [*run.command(prepared, "sh", "-c", "echo ran; sleep 0.2")]
    with own_machine():
        done = Runner(as_root=True)(
            "unshare", "-m", "--propagation", "private", *REFUSING, f"{call}={error}", *words
        )
    assert (done.returncode, done.stdout) == (0, "ran\n"), done


def test_one_processor(run: Runner, prepared: Path, deb: Path) -> None:
    need("taskset")
    words = ["sh", "-c", f"{SCRIPT}; {HASHES}"]
    assert (
        run("taskset", "-c", "0", prepared, *words).stdout
        == run("taskset", "-c", "0", deb, *words).stdout
    )


def test_the_calls_of_both_are_justified(
    run_as_user: Runner, deb: Path, prepared: Path, shared: Path
) -> None:
    need("strace")
    table = (TESTS.parent / "docs" / "start.md").read_text().split("| call |")[1]
    words = set(table.replace("`", " ").split())
    script = "read x </etc/passwd; test -e /nope"

    def made(app: Path, *options: str | Path) -> set[str]:
        trace = shared / "trace"
        done = run_as_user(
            "strace", "-f", "-qq", "-o", trace, app, *options, "sh", "-c", f"{script}; exit 3"
        )
        assert done.returncode == 3, done
        return set(calls(trace.read_text()))

    without = made(deb)
    more: set[str] = set()

    def follows_the_list() -> bool:
        more.update(made(prepared) - without)
        return "openat2" in more

    # Where there is no processor to spare, the list is left alone.
    assert wait_for(follows_the_list) and more <= words
    assert "renameat2" in made(deb, "--dockerc-record", shared / "p") - without <= words


def test_short_programs(deb: Path, shared: Path) -> None:
    # They may end before the runtime has found which file they are.
    for number in range(30):
        profile = shared / str(number)
        subprocess.run([deb, f"--dockerc-record={profile}", "true"], check=True)
        assert parse(profile.read_bytes())[0].program == b"usr/bin/true"


# dockerc record


def test_a_tool_gets_its_arguments(run: Runner, shared: Path, images: Path) -> None:
    tool = shared / "tool"
    dockerc("build", f"oci:{images}/debian", "-o", tool, "--entrypoint", "/bin/echo")
    for words in (["--", "-n", "--", "x"], ["-e", "A=1", "--", "-n", "--", "x"]):
        done = dockerc("record", "-o", shared / "p", tool, *words)
        assert done.stdout == "-- x"
    (start,) = parse((shared / "p").read_bytes())
    assert start.program == b"usr/bin/echo"


def test_a_server_is_ended(deb: Path, shared: Path) -> None:
    started = time.monotonic()
    done = dockerc("record", "-o", shared / "p", "--seconds", "1", deb, "--", "sleep", "600")
    assert done.stderr == "" and time.monotonic() - started < 30
    assert parse((shared / "p").read_bytes())[0].program == b"usr/bin/sleep"


@pytest.mark.slow
def test_a_program_that_does_not_end(deb: Path, shared: Path) -> None:
    script = "trap '' TERM; while :; do sleep 1; done"
    sentence = failed(
        "record", "-o", shared / "p", "--seconds", "1", deb, "--", "sh", "-c", script, timeout=60
    )
    assert "does not end 10 seconds after SIGTERM" in sentence
    assert not (shared / "p").exists()


def test_what_record_refuses(deb: Path, shared: Path) -> None:
    assert "put -- before" in failed("record", "-o", shared / "p", deb, "true", status=2)
    assert (
        "recorded nothing"
        in dockerc("record", "-o", shared / "no/p", deb, "--", "true", check=False).stderr
    )
    done = dockerc("record", "-o", shared / "p", deb, "--", "false")
    assert "the program's exit status was 1" in done.stderr


def test_an_interrupt_is_the_program_s(deb: Path, shared: Path) -> None:
    command = [*TOOL, "record", "-o", str(shared / "p"), str(deb), "--", "sleep", "60"]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE) as process:
        time.sleep(2)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 0
    assert parse((shared / "p").read_bytes())[0].program == b"usr/bin/sleep"


def test_build_records_and_builds_again(images: Path, shared: Path) -> None:
    source = f"oci:{images}/debian"
    done = dockerc("build", source, "--record", f"sh -c '{SCRIPT} || true'", "-o", shared / "app")
    assert done.stdout == ""
    (start,) = json.loads(dockerc("inspect", "--json", shared / "app").stdout)["profile"]["starts"]
    assert start["program"] == "/usr/bin/dash"
    assert [path.name for path in shared.iterdir()] == ["app"]
    sentence = failed("build", "-q", source, "--record", "false", "-o", shared / "other")
    assert "exit status is 1" in sentence
    sentence = failed(
        "build", source, "--record", "true", "--arch", "arm64", "-o", shared / "other"
    )
    assert "does not run images for linux/arm64" in sentence
    assert "--record" in failed("build", source, "--record", "'", "-o", shared / "other", status=2)
    assert [path.name for path in shared.iterdir()] == ["app"]
