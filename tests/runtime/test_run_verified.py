"""Runs that are verified: nothing of a file that was changed is run, wherever the change is."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from layout import file, symlink, tar_of, write_layout
from support import FIXTURES, Runner, dockerc

from toolkit.executable.executable import Executable, open_executable
from toolkit.executable.public_key import parse_public_key

CHANGED = "was changed"


@pytest.fixture(scope="module")
def key(place: Path) -> Path:
    """A private key; its public half is beside it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    made = Ed25519PrivateKey.generate()
    path = place / "verified.key"
    path.write_bytes(made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ))  # fmt: skip
    path.with_suffix(".pub").write_bytes(made.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ))  # fmt: skip
    return path


def word_of(key: Path) -> str:
    """The public key as a policy has it."""
    return "".join(key.with_suffix(".pub").read_text().splitlines()[1:-1])


@pytest.fixture(scope="module")
def app(place: Path, key: Path) -> Path:
    """With a file of many blocks that the machine's programs read, signed."""
    layer = tar_of(
        *(symlink(name, f"usr/{name}") for name in ("bin", "lib", "lib64")),
        file("large", b"".join(b"%7d\n" % number for number in range(80_000))),
        file("small", b"small"),
    )
    layout = write_layout(place / "verified.layout", [layer])
    output = place / "verified"
    words = ["-v", "/usr:/usr:ro", "--compression", "none", "--block-size", "16K"]
    dockerc("build", f"oci:{layout}", "-o", output, *words)
    dockerc("sign", output, "--key", key)
    return output


READ = ["cat", "/large", "/small"]


def changed(app: Path, at: int, output: Path) -> Path:
    """A copy with a flipped bit; under a new name, for the last one may still be executed."""
    data = bytearray(app.read_bytes())
    data[at] ^= 1
    output.write_bytes(data)
    output.chmod(0o755)
    return output


@pytest.fixture
def environment(shared: Path) -> dict[str, str]:
    """A caller's environment with a cache and a configuration of the test's own."""
    return {
        "PATH": os.environ["PATH"],
        "XDG_CACHE_HOME": str(shared / "cache"),
        "XDG_CONFIG_HOME": str(shared / "config"),
    }


@pytest.mark.parametrize("way", ["option", "variable", "DOCKERC_ARGS"])
def test_what_is_whole_runs(app: Path, run: Runner, environment: dict[str, str], way: str) -> None:
    words = ["--dockerc-verify"] if way == "option" else []
    if way == "variable":
        environment["DOCKERC_VERIFY"] = "1"
    if way == "DOCKERC_ARGS":
        environment["DOCKERC_ARGS"] = "--dockerc-verify"
    done = run(app, *words, *READ, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("  79999\nsmall")


def test_the_option_stands_first(
    app: Path, run_as_user: Runner, environment: dict[str, str]
) -> None:
    done = run_as_user(app, "-e", "A=b", "--dockerc-verify", "cat", "/small", env=environment)
    assert done.returncode == 125 and "stands before all other words" in done.stderr


Place = Callable[[Executable, bytes], int]
PLACES: dict[str, Place] = {
    "a file's block": lambda app, data: data.index(b"  40000\n"),
    "a fragment": lambda app, data: data.rindex(b"small", 0, app.payload_end),
    "config.json": lambda app, data: data.index(b"ociVersion"),
    "the superblock": lambda app, data: app.footer.offset + 9,
    "the root directory's inode": lambda app, data: (
        app.footer.offset + app.superblock.inode_table + 5
    ),
    "the directory table": lambda app, data: (
        app.footer.offset + app.superblock.directory_table + 30
    ),
    "the id table": lambda app, data: app.footer.offset + app.superblock.id_table - 3,
    "the tree's root block": lambda app, data: app.tree_offset + 3,
    "the tree's lowest level": lambda app, data: app.tree_offset + 4096 + 7,
    "the block's magic": lambda app, data: app.block_offset,
    "its salt": lambda app, data: app.block_offset + 50,
    "its root": lambda app, data: app.block_offset + 80,
    "its flags": lambda app, data: app.block_offset + 104,
    "its digest of config.json": lambda app, data: app.block_offset + 120,
    "its zeros": lambda app, data: app.block_offset + 160,
    "its offset": lambda app, data: app.block_offset + 193,
    "its digest of the stub": lambda app, data: app.block_offset + 210,
    "a key": lambda app, data: app.block_offset + 320 + 20,
    "a signature": lambda app, data: app.block_offset + 320 + 60,
    "the second signature": lambda app, data: app.block_offset + 320 + 128 + 60,
    "the zeros behind": lambda app, data: app.block_offset + 4000,
    "the footer's flag": lambda app, data: app.size - 8,
}


@pytest.mark.parametrize("what", PLACES)
def test_a_flipped_bit(
    app: Path, run: Runner, shared: Path, environment: dict[str, str], what: str
) -> None:
    """The start is refused, or the program gets EIO and nothing of what is wrong."""
    data = app.read_bytes()
    with open_executable(app) as executable:
        at = PLACES[what](executable, data)
    bad = changed(app, at, shared / "bad")
    done = run(bad, "--dockerc-verify", *READ, env=environment)
    assert done.returncode != 0 and done.stderr, done
    assert "dockerc: " in done.stderr
    good = "".join(f"{number:7}\n" for number in range(80_000)) + "small"
    if done.returncode == 1:  # of cat
        assert "Input/output error" in done.stderr and CHANGED in done.stderr
        # cat goes on with the next file.
        assert good.startswith(done.stdout.removesuffix("small")), "wrong bytes were read"
    else:
        assert done.returncode == 125 and done.stdout == "", done
    if what == "a file's block":
        assert done.returncode == 1
        assert run(bad, *READ, env=environment).returncode == 0, "unverified, nobody notices"


@pytest.mark.parametrize(
    "what", ["its digest of config.json", "its offset", "its root", "its salt"]
)
def test_a_flipped_bit_without_signatures(
    app: Path, run_as_user: Runner, shared: Path, environment: dict[str, str], what: str
) -> None:
    """Then nothing but the payload itself says that the block is wrong."""
    data = bytearray(app.read_bytes())
    with open_executable(app) as executable:
        block = executable.block_offset
        at = PLACES[what](executable, data)
    data[block + 320 : block + 4096] = bytes(4096 - 320)
    plain = shared / "plain"
    plain.write_bytes(data)
    plain.chmod(0o755)
    assert run_as_user(plain, "--dockerc-verify", *READ, env=environment).returncode == 0
    bad = changed(plain, at, shared / "bad")
    done = run_as_user(bad, "--dockerc-verify", *READ, env=environment)
    assert done.returncode == 125 and done.stderr


def test_the_sentence_comes_once(
    app: Path, run_as_user: Runner, shared: Path, environment: dict[str, str]
) -> None:
    with open_executable(app) as executable:
        at = PLACES["a file's block"](executable, app.read_bytes())
        start = (at - executable.footer.offset) // 4096 * 4096 + executable.footer.offset
    bad = changed(app, at, shared / "bad")
    script = "cat /large; cat /large; exit 7"
    done = run_as_user(bad, "--dockerc-verify", "sh", "-c", script, env=environment)
    assert done.returncode == 7
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("dockerc: ")]
    assert f"its bytes {start} to {start + 4096} are not those" in said


def test_each_page_of_a_large_block(
    run_as_user: Runner, shared: Path, environment: dict[str, str]
) -> None:
    """The runtime hashes many pages at once where the processor can."""
    links = [symlink(name, f"usr/{name}") for name in ("bin", "lib", "lib64")]
    content = b"".join(b"%7d\n" % number for number in range(64 << 10))
    layout = write_layout(shared / "layout", [tar_of(*links, file("large", content))])
    app = shared / "pages"
    words = ["-v", "/usr:/usr:ro", "--compression", "none"]
    dockerc("build", f"oci:{layout}", "-o", app, *words)
    with open_executable(app) as executable:
        payload = executable.footer.offset
    size = 128 << 10
    block = app.read_bytes().index(content[size : 2 * size])
    for page in (0, 1, 10, 11, 14, 15, 16, 30, 31):
        at = block + 4096 * page + 77 * page
        start = (at - payload) // 4096 * 4096 + payload
        bad = changed(app, at, shared / f"bad-{page}")
        done = run_as_user(bad, "--dockerc-verify", "cat", "/large", env=environment)
        assert done.returncode == 1 and content.decode().startswith(done.stdout)
        assert f"its bytes {start} to {start + 4096} are not those" in done.stderr
    done = run_as_user(app, "--dockerc-verify", "cat", "/large", env=environment)
    assert (done.returncode, done.stdout) == (0, content.decode())


@pytest.mark.parametrize("way", ["copy", "unpack"])
def test_where_it_is_unpacked(
    app: Path, run: Runner, shared: Path, environment: dict[str, str], way: str
) -> None:
    """What is unpacked is verified before; a tree of a run that was not is not taken."""
    with open_executable(app) as executable:
        at = PLACES["a file's block"](executable, app.read_bytes())
    bad = changed(app, at, shared / "bad")
    environment["DOCKERC_FORCE"] = way
    shared.chmod(0o777)
    assert run(bad, *READ, env=environment).returncode == 0
    done = run(bad, "--dockerc-verify", *READ, env=environment)
    assert done.returncode == 125 and done.stdout == ""
    assert CHANGED in done.stderr and "cannot unpack" in done.stderr
    for _ in range(2):
        assert run(app, "--dockerc-verify", *READ, env=environment).returncode == 0


def test_extraction_is_verified(
    app: Path, run_as_user: Runner, shared: Path, environment: dict[str, str]
) -> None:
    with open_executable(app) as executable:
        at = PLACES["a file's block"](executable, app.read_bytes())
    bad = changed(app, at, shared / "bad")
    out = shared / "out"
    words = ["--dockerc-verify", "--dockerc-extract", out]
    assert run_as_user(bad, *words, env=environment).returncode == 125
    assert not out.exists()
    assert run_as_user(app, *words, env=environment).returncode == 0


def test_a_verified_run_shares_no_mount(
    app: Path, run_as_user: Runner, environment: dict[str, str], shared: Path
) -> None:
    """The others' may not be verified."""
    environment["XDG_RUNTIME_DIR"] = str(shared)
    environment["DOCKERC_LOG"] = "debug"
    plain = run_as_user(app, "--share", "cat", "/small", env=environment)
    assert "started keeper" in plain.stderr
    environment["DOCKERC_VERIFY"] = "1"
    done = run_as_user(app, "--share", "cat", "/small", env=environment)
    assert done.stdout == "small" and "keeper" not in done.stderr


def test_an_old_file_is_refused(
    app: Path, run_as_user: Runner, shared: Path, environment: dict[str, str]
) -> None:
    data = app.read_bytes()
    with open_executable(app) as executable:
        tree = executable.tree_offset
    old = shared / "old"
    old.write_bytes(data[:tree] + data[-64:])
    old.chmod(0o755)
    done = run_as_user(old, "--dockerc-verify", *READ, env=environment)
    assert done.returncode == 125 and "no hash tree" in done.stderr
    assert run_as_user(old, *READ, env=environment).returncode == 0
    # And bytes behind it are nobody's.
    longer = shared / "longer"
    longer.write_bytes(data[:-16] + bytes(16) + data[-16:])
    longer.chmod(0o755)
    assert run_as_user(longer, "--dockerc-verify", *READ, env=environment).returncode == 125


def policy(environment: dict[str, str], text: str) -> Path:
    directory = Path(environment["XDG_CONFIG_HOME"], "dockerc")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "policy.toml").write_text(text)
    return directory / "policy.toml"


def test_the_caller_s_policy(
    app: Path, key: Path, run: Runner, shared: Path, environment: dict[str, str]
) -> None:
    """A file at a path must have the signature, and a payload that was not changed since."""
    one = shared / "one"
    shutil.copy(app, one)
    policy(environment, f'# of the test\n"{one}" = ["{word_of(key)}"]\n')
    assert run(one, "cat", "/small", env=environment).stdout == "small"
    with open_executable(app) as executable:
        at = executable.block_offset
        flipped = PLACES["a file's block"](executable, app.read_bytes())
    unsigned = bytearray(app.read_bytes())
    unsigned[at + 320 : at + 4096] = bytes(4096 - 320)
    shutil.copy(app, shared / "two")
    (shared / "two").write_bytes(unsigned)
    assert run(shared / "two", "cat", "/small", env=environment).returncode == 0
    (shared / "two").replace(one)
    done = run(one, "cat", "/small", env=environment)
    assert done.returncode == 125 and done.stdout == ""
    assert f"not signed by a key of {environment['XDG_CONFIG_HOME']}" in done.stderr
    changed(app, flipped, shared / "three").replace(one)
    done = run(one, *READ, env=environment)
    assert done.returncode == 1 and CHANGED in done.stderr
    policy(environment, f'"{shared}/*" = []\n')
    shutil.copy(app, shared / "four")
    assert run(shared / "four", "cat", "/small", env=environment).returncode == 125


@pytest.mark.parametrize("text", ['"*" = ["x"]\n', "[rules]\n", "x" * 70_000, "\xff"])
def test_a_policy_that_is_none(
    app: Path, run_as_user: Runner, environment: dict[str, str], text: str
) -> None:
    where = policy(environment, "")
    where.write_bytes(text.encode("latin-1"))
    done = run_as_user(app, "cat", "/small", env=environment)
    assert done.returncode == 125 and str(where) in done.stderr, done
    where.unlink()
    where.mkdir()
    assert run_as_user(app, "cat", "/small", env=environment).returncode == 125
    where.rmdir()
    os.mkfifo(where)
    assert run_as_user(app, "cat", "/small", env=environment).stdout == "small"
    where.unlink()
    where.write_text("")
    where.chmod(0)
    assert run_as_user(app, "cat", "/small", env=environment).returncode == 125
    where.parent.chmod(0)  # another's
    assert run_as_user(app, "cat", "/small", env=environment).stdout == "small"
    where.parent.chmod(0o755)


@pytest.mark.root("the machine's policy is root's")
def test_the_machine_s_policy(
    app: Path, key: Path, run: Runner, shared: Path, environment: dict[str, str]
) -> None:
    """Both policies count: the caller's takes nothing away."""
    policy(environment, f'"*" = ["{word_of(key)}"]\n')
    etc = shared / "etc"
    etc.mkdir()
    script = (
        "mount -t tmpfs none /etc/dockerc 2>/dev/null || "
        '{ mkdir -p "$0/up" "$0/work" && '
        "mount -t overlay -o lowerdir=/etc,upperdir=$0/up,workdir=$0/work none /etc && "
        "mkdir -p /etc/dockerc; }\n"
        'printf "%s" "$1" >/etc/dockerc/policy.toml && shift && exec "$@"'
    )

    def under(text: str) -> Any:
        base = etc / str(len(list(etc.iterdir())))
        base.mkdir()
        command = ["unshare", "-m", "--propagation", "private", "sh", "-c"]
        mount = f"mount -t tmpfs none {base}; {script}"
        words = [*command, mount, str(base), text, *run.command(app, "cat", "/small")]
        return subprocess.run(words, capture_output=True, text=True, env=environment)

    done = under(f'"*" = ["{word_of(key)}"]\n')
    assert (done.returncode, done.stdout) == (0, "small"), done.stderr
    done = under('"*" = []\n')
    assert done.returncode == 125 and "/etc/dockerc/policy.toml" in done.stderr
    assert done.stdout == ""


def test_a_pinned_runtime(
    key: Path, run: Runner, shared: Path, environment: dict[str, str]
) -> None:
    app = shared / "app"
    dockerc("build", f"oci:{FIXTURES}/hello", "-o", app, "--pin-key", key.with_suffix(".pub"))
    done = run(app, env=environment)
    assert done.returncode == 125 and "the key pinned in its runtime" in done.stderr
    dockerc("sign", app, "--key", key, "-o", shared / "signed")
    assert "Hello" in run(shared / "signed", env=environment).stdout
    dockerc("edit", shared / "signed", shared / "edited", "-e", "A=b")
    assert run(shared / "edited", env=environment).returncode == 125
    with open_executable(shared / "signed") as executable:
        bad = changed(shared / "signed", executable.payload_end - 9, shared / "bad")
    assert run(bad, env=environment).returncode != 0
    assert parse_public_key(word_of(key)).data in app.read_bytes()


def test_a_mount_is_verified(
    app: Path, run: Runner, shared: Path, environment: dict[str, str]
) -> None:
    """`dockerc mount` serves other files by the installation's runtime, which has the policy."""
    policy(environment, f'"{shared}/*" = []\n')
    copy = shared / "copy"
    shutil.copy(app, copy)
    target = shared / "target"
    target.mkdir()
    target.chmod(0o777)
    done = run(app, "--dockerc-mount", target, copy, env=environment)
    assert done.returncode == 125 and "not signed by a key of" in done.stderr
