"""crun and runc as judges: the same config.json means the same container to them and to us."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from support import ORDINARY_USER, Runner, dockerc, need, with_config

SCRIPT = r"""
grep -E '^(Uid|Gid|Groups|NoNewPrivs|Cap...|Seccomp|Umask|SigIgn|SigCgt|SigBlk):' \
  /proc/self/status
sed 's/^/limit /' /proc/self/limits
cut -d' ' -f2-4 /proc/self/mounts | sed 's/^/mount /'
env | sed 's/^/env /'
find /dev -mindepth 1 -exec stat -c 'dev %n %F %t:%T %a %u:%g' {} +
find /dev -type l -printf 'link %p %l\n'
for each in cgroup ipc mnt net pid user uts; do echo ns $each $(readlink /proc/self/ns/$each); done
echo umask $(umask); echo cwd $(pwd); echo hostname $(cat /proc/sys/kernel/hostname)
echo oom $(cat /proc/self/oom_score_adj)
for each in /proc/kcore /proc/keys /proc/timer_list /proc/scsi /sys/firmware; do
  test -s $each && echo seen $each $(ls $each 2>/dev/null | wc -l)
done
for each in /proc/sys/kernel/sysrq /proc/sysrq-trigger /proc/irq; do
  test -w $each && echo writable $each
done
echo fds $(ls /proc/self/fd)
mkdir /tmp/new 2>&1
"""

HIDDEN = (
    *("/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/sched_debug", "/proc/timer_list"),
)

DEVICES = tuple(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty"))

HELD = ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETGID", "CAP_SETUID"]
REFUSE_MKDIR = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
}

PROCESSES: dict[str, dict[str, Any]] = {
    "root": {
        "user": {"uid": 0, "gid": 0},
        "capabilities": dict.fromkeys(("bounding", "permitted", "effective"), HELD),
        "noNewPrivileges": True,
    },
    "another user": {
        "user": {"uid": 7, "gid": 8, "additionalGids": [4, 50], "umask": 0o027},
        "capabilities": {"bounding": HELD},
        "noNewPrivileges": False,
        "cwd": "/usr/share",
        "oomScoreAdj": 500,
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            {"type": "RLIMIT_STACK", "soft": 1 << 20, "hard": 1 << 22},
        ],
    },
    "a user with ambient capabilities": {
        "user": {"uid": 7, "gid": 8},
        "capabilities": dict.fromkeys(
            ("bounding", "permitted", "effective", "inheritable", "ambient"), HELD[2:3]
        ),
        "noNewPrivileges": True,
    },
}


@pytest.fixture(params=["crun", "runc"])
def judge(request: pytest.FixtureRequest) -> str:
    need(request.param)
    return str(request.param)


@pytest.fixture
def bundle(run: Runner, deb: Path, place: Path) -> Path:
    """The image unpacked by that user, once for all tests."""
    parent = place / f"judged-by-{'root' if run.as_root else 'user'}"
    if not parent.exists():
        parent.mkdir()
        parent.chmod(0o777)
        words = ["--dockerc-privileged-files", "--dockerc-extract", parent / "bundle"]
        assert run(deb, *words).returncode == 0
    return parent / "bundle"


def configured(deb: Path, process: dict[str, Any], as_root: bool) -> dict[str, Any]:
    """The config.json that both are given."""
    config: dict[str, Any] = json.loads(dockerc("inspect", "--config", deb).stdout)
    config["process"].update(process, args=["sh", "-c", SCRIPT])
    config["hostname"] = "judged"
    # What the builder remembers of the image's own command.
    del config["annotations"]
    linux = config["linux"]
    linux["seccomp"] = REFUSE_MKDIR
    if as_root:
        # Root's containers have no user namespace here, whatever the configuration says.
        linux["namespaces"] = [each for each in linux["namespaces"] if each["type"] != "user"]
        return config
    # The map that our runtime makes by itself.
    try:
        user = pwd.getpwnam(ORDINARY_USER)
    except KeyError:
        pytest.skip(f"there is no user {ORDINARY_USER} with sub-ids")
    for kind, own in (("uid", user.pw_uid), ("gid", user.pw_gid)):
        lines = Path(f"/etc/sub{kind}").read_text().splitlines()
        (given,) = [line.split(":") for line in lines if line.startswith(f"{ORDINARY_USER}:")]
        linux[f"{kind}Mappings"] = [
            {"containerID": 0, "hostID": own, "size": 1},
            {"containerID": 1, "hostID": int(given[1]), "size": int(given[2])},
        ]
    return config


def facts(text: str) -> set[str]:
    """The lines that say the same thing the same way: what differs by design is left out."""
    outside = {path.name: str(path.readlink()) for path in Path("/proc/self/ns").iterdir()}
    found = set()
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "ns":
            name, link = rest.split()
            line = f"ns {name} {'the caller' if outside[name] == link else 'own'}"
        if kind == "mount":
            target, filesystem, options = rest.split()
            if target in ("/", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname"):
                continue  # the root is the runtime's affair; names are resolved as on the machine
            if target.startswith("/sys/"):
                # Below the machine's /sys: read-only with us, as it is; they leave them writable.
                continue
            if target in HIDDEN:
                filesystem, options = "hidden", ""  # by a /dev/null, the machine's or their own
            if target in DEVICES:
                continue  # bound here for root, too, who could else make others; they make nodes
            # Numbers of the machine, which is whose range it is.
            dropped = ("size=", "inode64", "uid=", "gid=")
            kept = {o for o in options.split(",") if not o.startswith(dropped)}
            if target == "/dev":
                kept.add("nodev")  # ours alone: devices are opened where they were bound
            line = f"mount {target} {filesystem} {','.join(sorted(kept))}"
        # HOSTNAME and the primary group among the others are docker's affair, not its runtime's.
        if line.startswith(
            ("env TERM=", "env HOSTNAME=", "env _=", "env PWD=", "env SHLVL=", "env OLDPWD=")
        ):
            continue
        if "/dev/core" in line:
            continue  # runc makes the link where there is a /proc/kcore outside
        if line.startswith("Groups:"):
            # Without others runc puts the user's own group there.
            line = f"Groups: {' '.join(e for e in line.split()[1:] if e not in ('0', '8'))}"
        found.add(line)
    return found


@pytest.mark.parametrize("process", PROCESSES.values(), ids=list(PROCESSES))
def test_we_make_the_same_container(
    run: Runner, judge: str, process: dict[str, Any], deb: Path, bundle: Path, shared: Path
) -> None:
    need("newuidmap")
    if os.geteuid() != 0:
        pytest.skip("only root can run as both users")
    if judge == "runc" and not run.as_root:
        # It refuses them without root: "cannot set any additional groups in a rootless container".
        process = {**process, "user": {**process["user"], "additionalGids": []}}
    config = configured(deb, process, run.as_root)
    (bundle / "config.json").write_text(json.dumps(config))
    ours = run(with_config(deb, config, shared / "app"), input="")
    assert ours.returncode == 1, ours.stderr  # of the mkdir that is refused
    theirs = judged(run, judge, bundle, shared / "state")
    mine, judge_s = facts(ours.stdout), facts(theirs)
    assert len(judge_s) > 60
    told = [f"ours: {each}" for each in mine - judge_s]
    told += [f"{judge}: {each}" for each in judge_s - mine]
    assert not told, "\n".join(sorted(told))


def judged(run: Runner, judge: str, bundle: Path, state: Path) -> str:
    """What the script tells in the judge's container."""
    manager = ["--cgroup-manager=disabled"] if judge == "crun" else []
    start = [judge, *manager, "--root", state, "run", "--bundle", bundle, f"judged-{os.getpid()}"]
    # They refuse the second hierarchy that some machines have beside cgroup v1.
    prepare = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
    # A pipe, for crun gives what it reads from to the user of the container.
    done = Runner(as_root=True)(
        "unshare", "-m", "sh", "-c", prepare, "-", *run.command(*start), input=""
    )
    assert done.returncode == 1, (done.stdout, done.stderr)
    return str(done.stdout)
