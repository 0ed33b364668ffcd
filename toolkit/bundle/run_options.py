"""The options of a run, as the executable itself and `dockerc run` take them.

This is the one table. The runtime's own (cli/flags.zig), its manual, the man page and the README's
table are checked against it by tests/bundle/test_contract.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.errors import UsageError


@dataclass(frozen=True)
class RunOption:
    """An option of the runtime.

    `value` is what its value is called; empty for one that is on or off (`=true`, `=false`).
    """

    name: str
    short: str = ""
    value: str = ""
    help: str = ""

    @property
    def ignored(self) -> bool:
        """Accepted, for a command line written for docker, and without meaning here."""
        return not self.help


RUN_OPTIONS = (
    RunOption("add-host", "", "NAME:ADDRESS", "add a line to /etc/hosts"),
    RunOption("cap-add", "", "NAME", "add a capability; ALL is all of them"),
    RunOption("cap-drop", "", "NAME", "drop a capability; ALL is all of them"),
    RunOption("cpus", "", "NUMBER", "limit processors, if a cgroup is delegated to you"),
    RunOption("cwd", "", "", "bind the caller's working directory at its path, and start there"),
    RunOption("detach", "d", "", "go on in the background; output goes to a log"),
    RunOption("device", "", "PATH[:TARGET]", "add a device, or VENDOR/CLASS=NAME of CDI"),
    RunOption("dns", "", "ADDRESS", "a name server, instead of the machine's"),
    RunOption(
        "dns-option", "", "OPTION", "an option in /etc/resolv.conf, instead of the machine's"
    ),
    RunOption("dns-search", "", "DOMAIN", "a domain to search, instead of the machine's"),
    RunOption("entrypoint", "", "PROGRAM", "replace the image's entrypoint"),
    RunOption("env", "e", "NAME[=VALUE]", "set a variable, or pass the caller's on"),
    RunOption("env-file", "", "FILE", "set the variables in FILE, one on each line"),
    RunOption("env-host", "", "", "pass all of the caller's variables on"),
    RunOption("expose", "", "PORT[/udp]", "with --publish-all: publish this port, too"),
    RunOption("gpus", "", "all|device=NAME", "the same as --device nvidia.com/gpu=NAME"),
    RunOption("group-add", "", "GROUP", "add a supplementary group; keep-groups: the caller's"),
    RunOption("home", "", "", "bind the caller's home directory at its path, and set HOME"),
    RunOption("hostname", "h", "NAME", "the container's host name"),
    RunOption("init", "", "", "run an init that reaps processes and passes signals on"),
    RunOption("interactive", "i"),
    RunOption("label", "l", "NAME=VALUE"),
    RunOption("linger", "", "SECONDS", "as --share; the mount stays so long after the last run"),
    RunOption("log", "", "FILE", "with --detach: append the output to FILE"),
    RunOption("memory", "m", "BYTES", "limit memory, if a cgroup is delegated to you"),
    RunOption("mount", "", "type=bind|tmpfs,…", "as --volume or --tmpfs"),
    RunOption("name", "", "NAME", "what --dockerc-ps and the like call this run"),
    RunOption("net", "", "host|private|none", "the same as --network"),
    RunOption(
        "network", "", "host|private|none", "the machine's (default), one behind pasta, or none"
    ),
    RunOption("no-hosts", "", "", "keep the image's /etc/hosts"),
    RunOption("no-root-emulation", "", "", "without subordinate ids: unknown owners are errors"),
    RunOption("overlay", "", "DIR", "keep written files in DIR; otherwise they are discarded"),
    RunOption("pids-limit", "", "COUNT", "limit processes, if a cgroup is delegated to you"),
    RunOption("privileged", "", "", "all capabilities and devices that the caller has"),
    RunOption(
        "publish", "p", "[IP:][HOST:]PORT[/udp]", "the program's PORT is HOST on the machine"
    ),
    RunOption("publish-all", "P", "", "publish the ports that the image exposes on free ones"),
    RunOption("pull", "", "POLICY"),
    RunOption("read-only", "", "", "make the root file system read-only"),
    RunOption("read-only-tmpfs", "", "", "mount a tmpfs on /run, /tmp and /var/tmp"),
    RunOption("rm"),
    RunOption("security-opt", "", "OPTION", "no-new-privileges[=false], seccomp=FILE|unconfined"),
    RunOption("share", "", "", "share one mount of the payload with other runs of this file"),
    RunOption("shm-size", "", "BYTES", "the size of /dev/shm (64m)"),
    RunOption("sysctl", "", "NAME=VALUE", "a kernel parameter of the container's namespaces"),
    RunOption("tmpfs", "", "TARGET[:OPTIONS]", "mount a tmpfs"),
    RunOption("tty", "t"),
    RunOption("ulimit", "", "NAME=SOFT[:HARD]", "set a resource limit"),
    RunOption("user", "u", "USER[:GROUP]", "the user and group; names are the image's"),
    RunOption("userns", "", "keep-id|host", "keep-id: the program has the caller's user and group"),
    RunOption(
        "volume", "v", "SOURCE:TARGET[:ro]", "bind mount a file or directory of this machine"
    ),
    RunOption("workdir", "w", "DIR", "the working directory"),
    RunOption("dockerc-doctor", "", "", "check what this machine allows"),
    RunOption("dockerc-exec", "", "", "run a command in a run of this file"),
    RunOption("dockerc-extract", "", "DIR", "unpack the file into DIR, which is made"),
    RunOption("dockerc-help", "", "", "show the help of the executable"),
    RunOption("dockerc-inspect", "", "", "print the configuration (config.json) in it"),
    RunOption("dockerc-licenses", "", "", "print the licences of the runtime and its parts"),
    RunOption("dockerc-mount", "", "DIR", "mount the image's files on DIR until Ctrl-C"),
    RunOption(
        "dockerc-privileged-files", "", "", "unpack device nodes, set-id bits and security.*, too"
    ),
    RunOption("dockerc-ps", "", "", "list the runs of this file"),
    RunOption("dockerc-record", "", "FILE", "record a profile of this start, for dockerc build"),
    RunOption("dockerc-stop", "", "", "stop a run of this file"),
    RunOption("dockerc-verify", "", "", "refuse what is not as it was built or signed"),
    RunOption("dockerc-version", "", "", "print the version of the runtime"),
)
"""In the order of the alphabet, docker's first."""

_HELD_BY_CONFIG = ("entrypoint", "env", "env-file", "user", "volume", "workdir")
_OF_A_RUN = ("detach", "log", "name", "net")
"""`net` is `network`; the others are the caller's to decide."""
BAKED = tuple(
    option
    for option in RUN_OPTIONS
    if not option.ignored
    and not option.name.startswith("dockerc-")
    and option.name not in (*_HELD_BY_CONFIG, *_OF_A_RUN)
)
"""Those that a build keeps as they are written, for the runtime to read before the caller's."""

SUBSTITUTES = {
    "init-path": "the init is a part of the runtime: --init",
    "restart": "a supervisor (systemd, runit) restarts programs",
    "stop-signal": "signals are passed on: kill -s SIGNAL PID",
    "stop-timeout": "signals are passed on: timeout -k SECONDS TIME FILE",
}
"""Options of docker run that are not supported, and what to use instead."""

VOLUME_MODES = (
    "rw", "z", "Z", "cached", "delegated", "consistent", "rprivate", "private", "rslave", "slave",
    "rshared", "shared", "nocopy",
)  # fmt: skip
"""What may stand behind a volume beside `ro`: labels of SELinux, caches of macOS and propagation
have no meaning here."""


def split_run_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options in front, and the words from the image on (a `--` between them is left out).

    The rule is the runtime's (cli/options.zig): options end at the first word that is none of them.
    Raises UsageError for an unknown option, and for one whose value is missing.
    """
    at = 0
    while at < len(words):
        word = words[at]
        if len(word) < 2 or not word.startswith("-"):
            break
        if word == "--":
            return list(words[:at]), list(words[at + 1 :])
        at += 1
        wants = _long(word) if word.startswith("--") else _letters(word)
        if wants and at == len(words):
            raise UsageError(f"{word} needs a value")
        at += wants
    return list(words[:at]), list(words[at:])


def _long(word: str) -> bool:
    """Whether the next word is the option's value."""
    name, equals, state = word[2:].partition("=")
    if name in SUBSTITUTES:
        raise UsageError(f"--{name} is not supported: {SUBSTITUTES[name]}")
    option = next((each for each in RUN_OPTIONS if each.name == name), None)
    if option is None:
        raise _unknown(f"--{name}")
    if not option.value and equals and state not in ("true", "false"):
        raise UsageError(f"{word}: write --{name} alone, or with =true or =false")
    return bool(option.value) and not equals


def _letters(word: str) -> bool:
    """The same for several letters joined, the last perhaps with its value: -it, -itv/a:/b, -eA."""
    for at, letter in enumerate(word[1:], 1):
        option = next((each for each in RUN_OPTIONS if each.short == letter), None)
        if option is None:
            raise _unknown(f"-{letter}")
        if option.value:
            return at + 1 == len(word)
    return False


def _unknown(option: str) -> UsageError:
    import difflib

    known = [f"--{each.name}" for each in RUN_OPTIONS]
    near = difflib.get_close_matches(option, known, 1)
    hint = f"did you mean {near[0]}?" if near else "`man dockerc-run` lists the options"
    return UsageError(f"unknown option {option} before the image; {hint}")
