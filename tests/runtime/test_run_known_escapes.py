"""Ways out of other container runtimes, tried on ours: SECURITY.md has their numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from images_support import hello_program
from layout import directory, file, hard_link, symlink, tar_of, write_layout
from support import Runner, dockerc, with_config

SECRET = "of the machine"


def build(shared: Path, *entries: Any, config: dict[str, Any] | None = None) -> Path:
    """An executable with the fixture's program and these entries."""
    layer = tar_of(directory("bin"), file("bin/hello", hello_program(), mode=0o755), *entries)
    layout = write_layout(
        shared / "layout", [layer], {"Entrypoint": ["/bin/hello"], **(config or {})}
    )
    dockerc("build", f"oci:{layout}", "-o", shared / "app", "--args", "docker")
    return shared / "app"


@pytest.fixture
def victim(shared: Path) -> Path:
    """A directory of the machine in which everybody may write, with a secret and an empty file."""
    path = shared / "victim"
    path.mkdir()
    (path / "secret").write_text(SECRET)
    (path / "empty").touch()
    for each in (path, *path.iterdir()):
        each.chmod(0o777)
    return path


def state(path: Path) -> list[tuple[str, bytes]]:
    return sorted((each.name, each.read_bytes()) for each in path.iterdir())


def ways_to(path: Path) -> list[str]:
    """Links that lead there, if what follows them is not in the container."""
    roots = ("", "/..", "/../../../../../..", "/proc/self/root", "/proc/1/root", "/proc/1/cwd")
    return [f"{root}{path}" for root in roots]


@pytest.mark.parametrize(
    "words",
    [
        ["-v", "{source}:{link}/made", "env"], ["-v", "{source}:{link}/secret", "env"],
        ["--tmpfs", "{link}/made", "env"], ["-w", "{link}/made", "pwd"],
        ["-v", "{source}:{link}/empty", "env"], ["-w", "{link}", "cat", "secret"],
    ],
)  # fmt: skip
def test_no_link_of_the_image_leads_mounts_to_the_machine(
    run: Runner, shared: Path, victim: Path, words: Sequence[str]
) -> None:
    (shared / "source").mkdir(mode=0o755)
    links = ways_to(victim)
    entries = [symlink(f"link{number}", target) for number, target in enumerate(links)]
    app = build(shared, directory("proc"), *entries)
    before = state(victim)
    for number in range(len(links)):
        values = {"source": shared / "source", "link": f"/link{number}"}
        done = run(app, *(word.format(**values) for word in words))
        assert SECRET not in done.stdout, links[number]
        assert state(victim) == before, links[number]


def test_the_working_directory_of_an_image_is_made_inside(
    run: Runner, shared: Path, victim: Path
) -> None:
    entries = [symlink("link", f"/../../../..{victim}")]
    app = build(shared, *entries, config={"WorkingDir": "/link/made/deep"})
    before = state(victim)
    run(app, "pwd")
    assert state(victim) == before


@pytest.mark.parametrize("volume", ["/../../../..{victim}", "{victim}", "/proc/self/root{victim}"])
def test_volumes_of_an_image_show_nothing_of_the_machine(
    run: Runner, shared: Path, victim: Path, volume: str
) -> None:
    path = volume.format(victim=victim)
    app = build(shared, directory("proc"), config={"Volumes": {path: {}}})
    before = state(victim)
    done = run(app, "cat", f"{victim}/secret")
    assert SECRET not in done.stdout and state(victim) == before


@pytest.mark.parametrize(
    "target", ["/proc/sys/kernel/core_pattern", "/fake", "/proc/sysrq-trigger"]
)
def test_device_nodes_of_the_image_are_not_what_masks(
    run: Runner, shared: Path, target: str
) -> None:
    names = ("null", "console", "ptmx", "pts/0", "zero")
    entries = [symlink(f"dev/{name}", target) for name in names]
    app = build(shared, directory("dev"), directory("dev/pts"), file("fake", b"shown"), *entries)
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    for path in ("/proc/keys", "/proc/interrupts", "/dev/null"):
        done = run(app, "cat", path)
        assert (done.returncode, done.stdout) == (0, ""), (path, done.stderr)
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_a_link_in_the_place_of_a_file_system_uncovers_nothing(
    run: Runner, shared: Path, name: str
) -> None:
    app = build(shared, directory("fake"), symlink(name, "/fake"))
    for path in ("/proc/keys", "/fake/keys", "/proc/interrupts", "/fake/interrupts"):
        assert run(app, "cat", path).stdout == ""


@pytest.mark.parametrize("volume", ["/proc", "/proc/self/attr", "/sys/kernel", "/dev"])
def test_volumes_of_an_image_cover_no_file_system(run: Runner, shared: Path, volume: str) -> None:
    app = build(shared, directory("proc"), config={"Volumes": {volume: {}}})
    mounts = run(app, "cat", "/proc/self/mounts").stdout.splitlines()
    (kind,) = {line.split()[2] for line in mounts if line.split()[1] == "/proc"}
    assert kind == "proc"
    assert run(app, "cat", "/proc/keys").stdout == ""


def test_a_name_of_digits_is_no_user(run: Runner, shared: Path) -> None:
    passwd = file("etc/passwd", b"1000:x:0:0:the machine's root:/:/bin/sh\n")
    app = build(shared, directory("etc"), directory("proc"), passwd)
    status = run(app, "-u", "1000", "cat", "/proc/self/status").stdout
    assert "\nUid:\t1000\t1000\t1000\t1000\n" in status


@pytest.mark.parametrize("target", ["/dev/zero", "/proc/self/mem", "/proc/kmsg", "/x/../.."])
def test_tables_of_users_that_lead_elsewhere_are_not_followed(
    run: Runner, shared: Path, target: str
) -> None:
    links = [symlink("etc/passwd", target), symlink("etc/group", target)]
    app = build(shared, directory("etc"), *links)
    for words in ([], ["-u", "0"], ["-u", "1000:1000"]):
        assert run(app, *words, "env", timeout=60).returncode in (0, 125)
    assert run(app, "-u", "daemon", "env", timeout=60).returncode == 125


def test_no_entry_of_a_layer_is_written_through_a_link(
    run: Runner, shared: Path, victim: Path
) -> None:
    """Neither where it is merged nor where it is unpacked, by the tool or by the executable."""
    outside = f"../../../../../..{victim}"
    entries = [
        symlink("out", str(victim)), file("out/planted", b"x"),
        symlink("up", outside), file("up/planted", b"x"), file(f"{outside}/planted", b"x"),
        symlink("secret", f"{victim}/secret"), file("secret", b"overwritten"),
        hard_link("linked", f"{outside}/secret"),
    ]  # fmt: skip
    before = state(victim)
    for number, entry in enumerate(entries):
        place = shared / str(number)
        place.mkdir()
        before_it = [entries[number - 1]] if number % 2 == 1 or number == 4 else []
        layout = write_layout(place / "layout", [tar_of(*before_it, entry)], {"Cmd": ["/x"]})
        built = dockerc("build", f"oci:{layout}", "-o", place / "app", check=False)
        assert "Traceback" not in built.stderr and state(victim) == before, number
        if built.returncode == 0:
            place.chmod(0o777)
            dockerc("extract", place / "app", "--rootfs", place / "tree", check=False)
            run(place / "app", "--dockerc-extract", place / "out")
            assert state(victim) == before, number
            trees = [place / "tree", place / "out"]
            for path in (path for tree in trees for path in tree.rglob("*")):
                shown = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
                assert SECRET.encode() not in shown, path


def test_a_user_has_the_groups_of_the_image(run: Runner, shared: Path) -> None:
    tables = [
        file("etc/passwd", b"me:x:7:8::/:\n"),
        file("etc/group", b"mine:x:8:\ndenied:x:44:you,me\nother:x:45:you\n"),
    ]
    app = build(shared, directory("etc"), directory("proc"), *tables)
    config = json.loads(dockerc("inspect", "--config", app).stdout)
    several = with_config(app, config, shared / "several")
    status = run(several, "-u", "me", "cat", "/proc/self/status").stdout
    (groups,) = [line for line in status.splitlines() if line.startswith("Groups:")]
    assert "44" in groups.split() and "45" not in groups.split()


def test_hooks_and_sysctls_of_a_payload_are_not_for_the_machine(
    run: Runner, hello: Path, shared: Path, victim: Path
) -> None:
    config = json.loads(dockerc("inspect", "--config", hello).stdout)
    hook = {"path": "/usr/bin/touch", "args": ["touch", str(victim / "hooked")]}
    kinds = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart")
    config["hooks"] = {kind: [hook] for kind in (*kinds, "poststop")}
    config["linux"]["sysctl"] = {"kernel.core_pattern": f"|/usr/bin/touch {victim}/dumped"}
    app = with_config(hello, config, shared / "hooked")
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    before = state(victim)
    run(app)
    assert state(victim) == before
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern


def test_ids_that_a_payload_asks_for_are_the_runtime_s_to_map(
    run: Runner, hello: Path, shared: Path
) -> None:
    config = json.loads(dockerc("inspect", "--config", hello).stdout)
    plain = with_config(hello, config, shared / "plain")
    mapping = {"containerID": 0, "hostID": 0, "size": 1}
    config["linux"] |= {f"{kind}Mappings": [mapping] * 20000 for kind in ("uid", "gid")}
    app = with_config(hello, config, shared / "mapped")
    maps = [run(each, "cat", "/proc/self/uid_map") for each in (plain, app)]
    assert [each.returncode for each in maps] == [0, 0]
    assert maps[0].stdout == maps[1].stdout


@pytest.mark.parametrize("path", ["..", "rootfs/..", "/", "rootfs/../..", "a,upperdir=/etc", ""])
def test_the_root_of_a_payload_is_in_it(run: Runner, hello: Path, shared: Path, path: str) -> None:
    config = json.loads(dockerc("inspect", "--config", hello).stdout)
    config["root"]["path"] = path
    done = run(with_config(hello, config, shared / "rooted"), "cat", "/etc/hostname")
    assert (done.returncode, done.stdout) == (125, "")


def test_descriptors_of_the_caller_are_not_the_app_s(run: Runner, deb: Path, victim: Path) -> None:
    held = [os.open(path, os.O_RDONLY) for path in ("/", victim, victim / "secret")]
    try:
        script = "ls -l /proc/self/fd /proc/1/fd; cat /proc/self/fd/*/secret"
        done = run(deb, "sh", "-c", script, pass_fds=held)
    finally:
        for descriptor in held:
            os.close(descriptor)
    assert str(victim) not in done.stdout and SECRET not in done.stdout
    assert " -> / " not in done.stdout and not done.stdout.endswith(" -> /\n")


@pytest.mark.parametrize("words", [[], ["--cap-add", "ALL"], ["-u", "daemon"], ["--init"]])
def test_no_capability_is_inherited(run: Runner, deb: Path, words: list[str]) -> None:
    for process in ("self", "1"):
        status = run(deb, *words, "cat", f"/proc/{process}/status").stdout
        for kind in ("CapInh", "CapAmb"):
            assert f"{kind}:\t0000000000000000\n" in status


CGROUPS = """
for each in /sys/fs/cgroup /sys/fs/cgroup/*; do
    mkdir $each/dockerc-escaped && echo made $each
    for name in release_agent notify_on_release cgroup.procs tasks; do
        [ -e $each/$name ] && echo 0 >$each/$name && echo written $each/$name
    done
done 2>/dev/null
mount -t cgroup -o memory none /mnt 2>/dev/null && echo mounted
mount -t cgroup2 none /mnt 2>/dev/null && echo mounted
true
"""


@pytest.mark.parametrize("words", [[], ["--network", "none"]])
def test_no_control_group_of_the_machine_can_be_written(
    run: Runner, deb: Path, words: list[str]
) -> None:
    done = run(deb, *words, "sh", "-c", CGROUPS)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_no_namespace_and_no_file_system_can_be_made(run: Runner, deb: Path) -> None:
    script = """
        for flag in U m p n i u C; do unshare -$flag true 2>/dev/null && echo unshare -$flag; done
        mount -t tmpfs none /mnt 2>/dev/null && echo mount
        nsenter -t 1 -m true 2>/dev/null && echo setns; true
    """
    assert run(deb, "sh", "-c", script).stdout == ""
