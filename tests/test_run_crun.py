"""crun as judge: the same config.json means the same container to it and to our runtime."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from support import Runner, dockerc, need

SCRIPT = r"""
grep -E '^(Uid|Gid|Groups|NoNewPrivs|Cap...|NSpid|SigIgn|SigCgt):' /proc/self/status
cut -d' ' -f2-4 /proc/self/mounts | sed 's/^/mount /'
for kind in S H; do ulimit -$kind -a | sed "s/^/limit $kind /"; done
env | sed 's/^/env /'
find /dev -mindepth 1 -printf 'dev %p %y %m %U:%G %l\n'
for each in cgroup ipc mnt net pid user uts; do echo ns $each $(readlink /proc/self/ns/$each); done
echo umask $(umask); echo cwd $(pwd); echo oom $(cat /proc/self/oom_score_adj)
for each in /proc/kcore /proc/keys /proc/timer_list /proc/scsi /sys/firmware; do
  test -s $each && echo seen $each $(ls $each 2>/dev/null | wc -l)
done
for each in /proc/sys/kernel/sysrq /proc/sysrq-trigger /proc/irq; do
  test -w $each && echo writable $each
done
echo fds $(ls /proc/self/fd)
"""


@pytest.fixture(scope="module")
def deb(images: Path, place: Path) -> Path:
    """The debian image, built."""
    output = place / "deb-crun"
    dockerc("build", f"oci:{images}/debian", "-o", output)
    return output


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
            if target in ("/", "/etc/resolv.conf", "/etc/hosts"):
                continue  # the root is the runtime's affair; names are resolved as on the machine
            if target.startswith("/sys/"):
                # Below the machine's /sys: read-only with us, as it is; crun leaves them writable.
                continue
            if filesystem == "devtmpfs":
                options = ""  # what hides a file is /dev/null, read-only or not
            kept = {o for o in options.split(",") if not o.startswith(("size=", "inode64", "uid="))}
            line = f"mount {target} {filesystem} {','.join(sorted(kept))}"
        if line.startswith(("env TERM=", "env _=", "env PWD=", "env SHLVL=", "env OLDPWD=")):
            continue
        found.add(line)
    return found


def test_crun_and_we_make_the_same_container(deb: Path, shared: Path) -> None:
    need("crun")
    if os.geteuid() != 0:
        pytest.skip("crun without root makes another container")
    run = Runner(as_root=True)
    assert run(deb, "--dockerc-extract", shared / "bundle").returncode == 0
    config = json.loads((shared / "bundle/config.json").read_text())
    config["process"]["args"] = ["sh", "-c", SCRIPT]
    # Root's containers have no user namespace here, whatever the configuration says.
    config["linux"]["namespaces"] = [
        each for each in config["linux"]["namespaces"] if each["type"] != "user"
    ]
    for mapping in ("uidMappings", "gidMappings"):
        config["linux"].pop(mapping, None)
    (shared / "bundle/config.json").write_text(json.dumps(config))
    # crun refuses the second hierarchy that some machines have beside cgroup v1.
    prepare = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
    theirs = subprocess.run(
        ["unshare", "-m", "sh", "-c", prepare, "-",
         "crun", "--cgroup-manager=disabled", "--root", shared / "state", "run",
         "--bundle", shared / "bundle", f"judge-{os.getpid()}"],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert theirs.returncode == 0, theirs.stderr
    ours = run(deb, "sh", "-c", SCRIPT)
    assert ours.returncode == 0, ours.stderr
    assert len(facts(theirs.stdout)) > 60
    mine, judge = facts(ours.stdout), facts(theirs.stdout)
    told = [f"ours: {each}" for each in mine - judge] + [f"crun: {each}" for each in judge - mine]
    assert not told, "\n".join(sorted(told))
