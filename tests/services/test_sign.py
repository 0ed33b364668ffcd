"""Signatures: keys of ssh-keygen, openssl and minisign, what keeps them, and who is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from support import FIXTURES, TOOL, dockerc, failed, need

from toolkit.errors import DockercError
from toolkit.executable.executable import open_executable
from toolkit.executable.private_key import parse_private_key
from toolkit.executable.public_key import parse_public_key
from toolkit.executable.stub import read_stub

PASSWORD = "not so secret"


def tool(*words: str | Path, text: str = "") -> None:
    subprocess.run(
        [str(word) for word in words], check=True, capture_output=True, input=text.encode()
    )


def ssh(place: Path, password: str) -> None:
    need("ssh-keygen")
    tool("ssh-keygen", "-q", "-t", "ed25519", "-N", password, "-f", place / "key")
    (place / "key.pub").rename(place / "pub")


def pem(place: Path, password: str) -> None:
    need("openssl")
    more = ["-aes256", "-pass", f"pass:{password}"] if password else []
    tool("openssl", "genpkey", "-algorithm", "ed25519", "-out", place / "key", *more)
    given = ["-passin", f"pass:{password}"] if password else []
    tool("openssl", "pkey", "-in", place / "key", "-pubout", "-out", place / "pub", *given)


def minisign(place: Path, password: str) -> None:
    need("minisign")
    files = ["-p", place / "pub", "-s", place / "key"]
    if password:
        tool("minisign", "-G", *files, text=f"{password}\n{password}\n")
    else:
        tool("minisign", "-G", "-W", *files)


MAKERS: list[Callable[[Path, str], None]] = [ssh, pem, minisign]


@pytest.fixture(scope="module")
def keys(place: Path) -> Path:
    """Two keys of the plainest kind, `key` and `pub`, `other` and `other.pub`."""
    directory = place / "keys"
    directory.mkdir()
    ssh(directory, "")
    tool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / "other")
    return directory


@pytest.fixture
def signed(hello: Path, keys: Path, shared: Path) -> Path:
    app = shared / "signed"
    dockerc("sign", hello, "--key", keys / "key", "-o", app)
    return app


@pytest.mark.peers
@pytest.mark.parametrize("password", ["", PASSWORD])
@pytest.mark.parametrize("make", MAKERS)
def test_keys_of_every_form(
    hello: Path, tmp_path: Path, make: Callable[[Path, str], None], password: str
) -> None:
    make(tmp_path, password)
    app, key = tmp_path / "app", tmp_path / "key"
    words = ["sign", hello, "--key", key, "-o", app]
    if password:
        told = failed(*words, "--password-stdin", input=PASSWORD[1:])
        assert "the password is wrong" in told
        assert "--password-stdin" in failed(*words, status=2, input="")
        assert not app.exists()
        done = dockerc(*words, "--password-stdin", input=f"{PASSWORD}\n")
    else:
        done = dockerc(*words, input="")
    fingerprint = re.search("SHA256:[A-Za-z0-9+/]{43}", done.stderr)
    assert fingerprint is not None
    told = dockerc("verify", "--key", tmp_path / "pub", app).stdout
    assert f"signed by {fingerprint[0]}" in told
    if make is ssh:
        listed = subprocess.run(["ssh-keygen", "-lf", tmp_path / "pub"], capture_output=True)
        assert fingerprint[0] in listed.stdout.decode()
    # openssl is the judge: the block's first bytes are what was signed.
    with open_executable(app) as executable:
        block = executable.signed_block
    assert block is not None
    need("openssl")
    encoded = bytes.fromhex("302a300506032b6570032100") + block.signatures[0].key
    (tmp_path / "der").write_bytes(encoded)
    for each in block.signatures:
        (tmp_path / "signature").write_bytes(each.value)
        (tmp_path / "message").write_bytes(block.encode()[: 320 if each.covers_stub else 192])
        tool("openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey",
             tmp_path / "der", "-rawin", "-in", tmp_path / "message",
             "-sigfile", tmp_path / "signature")  # fmt: skip


def test_other_files_are_no_keys(hello: Path, tmp_path: Path, keys: Path) -> None:
    need("openssl")
    app, key = tmp_path / "app", tmp_path / "key"
    sign = ["sign", hello, "-o", app, "--key"]
    assert "no private key" in failed(*sign, keys / "pub")
    assert "no private key" in failed(*sign, hello.parent / "keys" / "pub")
    assert "cannot read it" in failed(*sign, tmp_path / "absent")
    tool("openssl", "genrsa", "-out", key, "2048")
    assert "no Ed25519 key" in failed(*sign, key)
    key.write_bytes(b"untrusted comment: x\nRWQ=\n")
    assert "cut short or malformed" in failed(*sign, key)
    tool("openssl", "genpkey", "-algorithm", "ed25519", "-out", key)
    plain = key.read_bytes()
    key.write_bytes(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + plain)
    told = failed(*sign, key, "--password-stdin", input="x")
    assert "the password is wrong, or the key is damaged" in told
    key.write_bytes(plain.replace(b"KEY-----\n", b"KEY-----\nProc-Type: 4,ENCRYPTED\n\n", 1))
    assert "no private key" in failed(*sign, key)
    key.write_bytes(bytes(1 << 17))
    assert "no key has more" in failed(*sign, key)
    assert not app.exists()
    told = failed("verify", "--key", keys / "key", hello)
    assert "no public Ed25519 key" in told


@given(st.binary(max_size=400))
@pytest.mark.parametrize("start", [b"", b"untrusted comment: x\n", b"-----BEGIN PRIVATE KEY-----\n",
                                   b"-----BEGIN OPENSSH PRIVATE KEY-----\n"])  # fmt: skip
def test_bytes_that_are_no_key(start: bytes, rest: bytes) -> None:
    with pytest.raises(DockercError):
        parse_private_key(start + rest, lambda: b"x")
    with pytest.raises(DockercError):
        parse_public_key((start + rest).decode("latin-1"))


def test_a_minisign_key_that_wants_more_memory() -> None:
    """Its numbers are taken for scrypt's own; whoever made the file has chosen them."""
    for operations, memory, told in [
        (1 << 25, (1 << 30) + 1, "at most 1024 MiB"),
        ((1 << 26) + 1, 1 << 20, "at most 1024 MiB"),
        (1 << 20, 64, "the password is wrong"),
        (0, 1 << 30, "the password is wrong"),
    ]:
        data = struct.pack("<2s2s2s32sQQ104x", b"Ed", b"Sc", b"B2", b"", operations, memory)
        text = b"untrusted comment: x\n" + base64.b64encode(data)
        with pytest.raises(DockercError, match=told):
            parse_private_key(text, lambda: b"x")


def test_several_signatures(signed: Path, keys: Path, shared: Path) -> None:
    """In place, mode kept; a key that has signed already has no more of them."""
    signed.chmod(0o750)
    for _ in range(2):
        dockerc("sign", signed, "--key", keys / "other")
    assert signed.stat().st_mode & 0o777 == 0o750
    for name in ("pub", "other.pub"):
        assert "signed by" in dockerc("verify", signed, "--key", keys / name).stdout
    told = json.loads(dockerc("inspect", "--json", signed).stdout)["signed"]
    assert len(told["signatures"]) == 4 and all(each["valid"] for each in told["signatures"])
    assert len({each["key"] for each in told["signatures"]}) == 2
    printed = dockerc("inspect", signed).stdout
    assert all(f"{each['key']}: payload" in printed for each in told["signatures"])


def test_no_room_for_more(signed: Path, keys: Path, shared: Path) -> None:
    from toolkit.services.sign import sign

    for _ in range(13):
        sign(signed, signed, Ed25519PrivateKey.generate())
    told = failed("sign", signed, "--key", keys / "other")
    assert "no room for more" in told
    assert "whole" in dockerc("verify", "--key", keys / "pub", signed).stdout


def test_replace_keeps_the_publisher_s_signature(signed: Path, keys: Path, shared: Path) -> None:
    """It is over the payload. With another runtime, that must be this installation's."""
    other = bytearray(read_stub("x86_64"))
    other[-1] ^= 1
    (shared / "stub").write_bytes(other)
    dockerc("replace", "--runtime", shared / "stub", signed, shared / "foreign")
    told = failed("verify", "--key", keys / "pub", shared / "foreign")
    assert "its payload is signed by" in told and "but its runtime by nobody" in told
    dockerc("replace", shared / "foreign", shared / "ours")
    told = dockerc("verify", "--key", keys / "pub", shared / "ours").stdout
    assert "its runtime is that of this installation" in told
    with open_executable(shared / "ours") as executable:
        block = executable.signed_block
        assert block is not None
        assert [each.covers for each in block.signatures] == [1]
    dockerc("replace", signed, shared / "same")
    assert (shared / "same").read_bytes() == signed.read_bytes()


def test_replace_makes_a_new_block_where_one_is_malformed(signed: Path, shared: Path) -> None:
    with open_executable(signed) as executable:
        at = executable.block_offset
    data = bytearray(signed.read_bytes())
    data[at + 8] = 9
    signed.write_bytes(data)
    assert "of version 9" in failed("verify", signed)
    assert json.loads(dockerc("inspect", "--json", signed).stdout)["signed"] is None
    told = dockerc("replace", signed, shared / "new").stderr
    assert "signed block is malformed" in told
    assert "whole" in dockerc("verify", shared / "new").stdout


@pytest.mark.parametrize("way", ["edit", "cp"])
def test_another_payload_has_no_signatures(
    signed: Path, keys: Path, shared: Path, way: str
) -> None:
    new = shared / "new"
    if way == "edit":
        done = dockerc("edit", signed, new, "-e", "A=b")
    else:
        done = dockerc("cp", keys / "pub", f"{signed}:/bin/x", new)
    assert "it has none; sign it with `dockerc sign`" in done.stderr
    assert "it is not signed" in failed("verify", "--key", keys / "pub", new)
    assert "whole" in dockerc("verify", new).stdout


def test_what_is_refused(signed: Path, hello: Path, keys: Path, shared: Path) -> None:
    """Not signed, signed by another, the signature of another payload, and a damaged file."""
    with open_executable(hello) as executable:
        at = executable.block_offset
    assert "it is not signed" in failed("verify", "--key", keys / "pub", hello)
    told = failed("verify", "--key", keys / "other.pub", signed)
    assert "is signed by SHA256:" in told and "none of the keys" in told
    assert "signed by" in dockerc(
        "verify", "--key", keys / "other.pub", "--key", keys / "pub", signed
    ).stdout  # fmt: skip
    dockerc("edit", hello, shared / "edited", "-e", "A=b")
    stolen = bytearray((shared / "edited").read_bytes())
    stolen[at + 320 : at + 4096] = signed.read_bytes()[at + 320 : at + 4096]
    (shared / "stolen").write_bytes(stolen)
    done = dockerc("verify", "--key", keys / "pub", shared / "stolen", check=False)
    assert done.returncode == 1 and "its signature 1" in done.stderr
    assert "it is not signed" in done.stderr
    damaged = bytearray(hello.read_bytes())
    damaged[at - 5000] ^= 1
    (shared / "damaged").write_bytes(damaged)
    told = failed("sign", shared / "damaged", "--key", keys / "key")
    assert "not signed, as it is damaged" in told
    assert (shared / "damaged").read_bytes() == damaged


def test_a_policy(signed: Path, hello: Path, keys: Path, shared: Path) -> None:
    policy = shared / "policy"
    word = (keys / "pub").read_text().strip()
    policy.write_text(f'# mine\n"{shared}/*" = ["{word}"]\n')
    assert "signed by" in dockerc("verify", "--policy", policy, signed).stdout
    copy = shared / "unsigned"
    shutil.copy(hello, copy)
    assert "it is not signed" in failed("verify", "--policy", policy, copy)
    (shared / "link").symlink_to(copy)
    assert "it is not signed" in failed("verify", "--policy", policy, shared / "link")
    assert "no rule for" in failed("verify", "--policy", policy, hello)
    policy.write_text(f'"{shared}/*" = []\n')
    assert "none of the keys" in failed("verify", "--policy", policy, signed)
    policy.write_text("tool = [\n")
    told = failed("verify", "--policy", policy, signed)
    assert "line 1: write NAME" in told


def test_a_changed_byte_anywhere_is_told(signed: Path, keys: Path, shared: Path) -> None:
    """Every region of the file but the footer's padding, which readers ignore."""
    data = signed.read_bytes()
    with open_executable(signed) as executable:
        start, end = executable.footer.offset, executable.payload_end
        tree, block = executable.tree_offset, executable.block_offset
    places = [100, start - 1, start + 50, (start + end) // 2, end - 1, tree, tree + 4095]
    places += [*range(block, block + 320 + 3 * 128, 7), block + 4095]
    places += [len(data) - 64, len(data) - 40, len(data) - 8]
    for at in places:
        changed = bytearray(data)
        changed[at] ^= 1
        (shared / "app").write_bytes(changed)
        done = dockerc("verify", "--key", keys / "pub", shared / "app", check=False)
        assert done.returncode == 1, at
        assert done.stderr.startswith("dockerc: "), at
        assert "Traceback" not in done.stderr, at


def test_the_digest_of_the_stub_is_checked(hello: Path, shared: Path) -> None:
    app = shared / "app"
    data = bytearray(hello.read_bytes())
    data[200] ^= 1
    app.write_bytes(data)
    assert "its runtime is not the one that was recorded" in failed("verify", app)


def test_an_old_file_has_nothing_to_sign(hello: Path, keys: Path, shared: Path) -> None:
    with open_executable(hello) as executable:
        tree = executable.tree_offset
    data = hello.read_bytes()
    (shared / "old").write_bytes(data[:tree] + data[-64:])
    told = failed("sign", shared / "old", "--key", keys / "key")
    assert "`dockerc replace` gives it one" in told
    assert "whole" in dockerc("verify", shared / "old").stdout
    dockerc("replace", shared / "old", shared / "new")
    assert (shared / "new").read_bytes() == data


def test_a_pinned_key(hello: Path, keys: Path, shared: Path) -> None:
    """It is in the stub, stays when that is replaced, and the stub is this installation's still."""
    app = shared / "app"
    done = dockerc("build", f"oci:{FIXTURES}/hello", "-o", app, "--pin-key", keys / "pub")
    assert "does not start before `dockerc sign`" in done.stderr
    key = parse_public_key((keys / "pub").read_text())
    with open_executable(app) as executable:
        offset = executable.footer.offset
    assert key.data in app.read_bytes()[:offset]
    assert dockerc("inspect", "-f", "{{.Stub.Current}}", app).stdout == "true\n"
    dockerc("replace", app, shared / "new")
    assert (shared / "new").read_bytes() == app.read_bytes()
    stub = read_stub("x86_64").replace(b"dockerc pinned", b"dockerc panned")
    (shared / "stub").write_bytes(stub)
    told = failed("replace", "--runtime", shared / "stub", app, shared / "x")
    assert "pinned to a key" in told and "no place for a key" in told


def test_help_needs_no_cryptography() -> None:
    """Which takes a tenth of a second to import."""
    script = (
        "import sys\n"
        "from toolkit.cli import main\n"
        "sys.argv = ['dockerc', 'sign', '--help']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    pass\n"
        "assert 'cryptography' not in sys.modules\n"
    )
    tool(TOOL[0], "-c", script)


def test_equal_payloads_have_equal_trees(hello: Path, shared: Path) -> None:
    dockerc("build", f"oci:{FIXTURES}/hello", "-o", shared / "again")
    assert (
        hashlib.sha256((shared / "again").read_bytes()).digest()
        == hashlib.sha256(hello.read_bytes()).digest()
    )
