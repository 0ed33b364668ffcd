"""config.json: what umoci writes for the same image, save the differences listed here."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from images_support import AMD64, ARM64, FIXTURE, Json, layer_contents, run, skopeo_copy

from toolkit.bundle.config import config_bytes, requires_mapped_uids, runtime_config
from toolkit.bundle.users import User, find_user
from toolkit.errors import DockercError
from toolkit.images.open import open_image

PASSWD = (
    b"root:x:0:0:root:/root:/bin/sh\n"
    b"# a comment\n\n"
    b"app:x:1000:1001:App:/home/app:/bin/sh\n"
    b"twin:x:1000:1002::/home/twin:/bin/sh\n"
    b"4242:x:77:78::/home/digits:/bin/sh\n"
    b"short:x:1003:1004\n"
    b"broken:x:zero:0::/:\n"
    b"caf\xe9:x:1005:1005::/home/caf\xe9:\n"
)
GROUP = (
    b"root:x:0:\n"
    b"tty:x:5:app,root\n"
    b"app:x:1001:app\n"
    b"extra:x:2000:root,app,twin\n"
    b"99:x:98:\n"
    b"nomembers:x:3000\n"
)


def files(**content: bytes) -> Callable[[str], bytes | None]:
    return {f"/etc/{name}": data for name, data in content.items()}.get


def convert(image: Json, rootfull: bool = False, **content: bytes) -> Json:
    return runtime_config(
        image,
        reference="oci:x",
        digest="sha256:1",
        version="9",
        rootfull=rootfull,
        read_file=files(passwd=PASSWD, group=GROUP, **content),
    )


# Compared with umoci

# What `umoci config` does to the fixture before both convert it.
IMAGES: dict[str, list[str]] = {
    "as-it-is": [],
    "user": ["--config.user=app"],
    "user-without-groups": ["--config.user=short"],
    "user-and-group": ["--config.user=app:extra"],
    "user-and-gid": ["--config.user=app:4000"],
    "uid-of-two": ["--config.user=1000"],
    "uid-of-none": ["--config.user=31337"],
    "uid-and-gid": ["--config.user=1000:5"],
    "digits-are-an-id": ["--config.user=4242"],
    "digits-are-a-gid": ["--config.user=app:99"],
    "group-alone": ["--config.user=:extra"],
    "env": [
        "--clear=config.env",
        "--config.env=A=b=c",
        "--config.env=TERM=dumb",
        "--config.env=E=",
    ],
    "env-twice": ["--config.env=PATH=/x", "--config.env=GREETING=", "--config.env=NEW=é ü"],
    "no-env": ["--clear=config.env"],
    "workdir": ["--config.workingdir=/srv/../srv"],
    "no-workdir": ["--config.workingdir="],
    "no-entrypoint": ["--clear=config.entrypoint", "--config.cmd=/bin/hello", "--config.cmd=env"],
    "no-cmd": ["--clear=config.cmd"],
    "nothing-to-run": ["--clear=config.entrypoint", "--clear=config.cmd"],
    "labels": ["--config.label=a=b", "--config.label=org.example.x=ü", "--author=É. Ü <x@y>"],
    "ports": ["--config.exposedports=9/udp", "--config.exposedports=80", "--clear=config.labels"],
    "stop-signal": ["--config.stopsignal=SIGINT"],
    "volumes": ["--config.volume=/data", "--config.volume=/home/app"],
    "created": ["--created=2020-02-03T04:05:06.7Z", "--architecture=arm64"],
}


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A one-platform copy of the fixture, which umoci can change and name."""
    path = tmp_path_factory.mktemp("umoci") / "layout"
    skopeo_copy(f"oci:{FIXTURE}", f"oci:{path}:base", "--override-arch", "amd64")
    return path


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "rootfs"
    (path / "etc").mkdir(parents=True)
    (path / "etc" / "passwd").write_bytes(PASSWD.replace(b"caf\xe9", b"cafe"))
    (path / "etc" / "group").write_bytes(GROUP)
    return path


@pytest.mark.parametrize("rootfull", [False, True], ids=["rootless", "rootfull"])
@pytest.mark.parametrize("name", IMAGES)
def test_equals_umoci(
    layout: Path, rootfs: Path, tmp_path: Path, name: str, rootfull: bool
) -> None:
    tag = f"{name}-{rootfull}"
    run("umoci", "config", "--image", f"{layout}:base", f"--tag={tag}", *IMAGES[name])
    run(
        "umoci", "raw", "runtime-config", *([] if rootfull else ["--rootless"]),
        "--image", f"{layout}:{tag}", "--rootfs", rootfs, tmp_path / "config.json",
    )  # fmt: skip
    theirs = json.loads((tmp_path / "config.json").read_bytes())
    with open_image(f"oci:{layout}:{tag}", AMD64 if name != "created" else ARM64) as image:
        ours = runtime_config(
            image.config,
            reference=image.reference,
            digest=image.digest,
            version="1",
            rootfull=rootfull,
            read_file=lambda path: (rootfs / path.lstrip("/")).read_bytes(),
        )
        expected = adapted(theirs, ours, image.config, rootfull)
    assert normalised(ours) == normalised(expected)


def adapted(theirs: Json, ours: Json, image: Any, rootfull: bool) -> Json:
    """umoci's configuration with our deliberate differences applied, each of them here."""
    process, linux = theirs["process"], theirs["linux"]
    config = image["config"]
    # The terminal is whatever standard input and output are when the program starts.
    process["terminal"] = False
    # Docker's capabilities, and none effective for users other than root; see defaults.py.
    process["capabilities"] = ours["process"]["capabilities"]
    # The limits of whoever runs the executable, not 1024 files.
    del process["rlimits"]
    # umoci 0.4 overwrites an image's HOME; docker and umoci 0.6 keep it.
    if any(entry.startswith("HOME=") for entry in config.get("Env") or []):
        process["env"] = ours["process"]["env"]
    # umoci leaves the HOME of a user without an account to the runtime; runc and crun say `/`.
    if not any(entry.startswith("HOME=") for entry in process["env"]):
        process["env"].append("HOME=/")
    # TERM is an image's own or, on a terminal, the caller's: docker's rule.
    kept = [e for e in config.get("Env") or [] if e.startswith("TERM=")]
    process["env"] = [e for e in process["env"] if not e.startswith("TERM=")]
    if kept:
        process["env"].insert(ours["process"]["env"].index(kept[0]), kept[0])
    # `--rootless` drops additional groups; a sub-id range can map them, so the runtime decides.
    if not rootfull:
        process["user"]["additionalGids"] = ours["process"]["user"]["additionalGids"]
    # The host's name, as it is the host's network.
    del theirs["hostname"]
    # The host's network; a cgroup namespace, which umoci has from 0.5 on.
    kinds = [{"type": "cgroup"}]
    linux["namespaces"] = kinds + [
        n for n in linux["namespaces"] if n["type"] not in ("network", "cgroup")
    ]
    # Masked and read-only paths are docker's: tests/runtime/test_run_masked.py compares them.
    linux["maskedPaths"] = ours["linux"]["maskedPaths"]
    linux["readonlyPaths"] = ours["linux"]["readonlyPaths"]
    # Id maps are the runtime's, which alone knows who runs it; umoci writes the builder's ids.
    linux.pop("uidMappings", None)
    linux.pop("gidMappings", None)
    # Volumes are no tmpfs but what the image holds there; the runtime makes what is missing.
    volumes = sorted(config.get("Volumes") or {})
    mounts = [mount for mount in theirs["mounts"] if mount["destination"] not in volumes]
    # With the host's network go its names, resolv.conf in any case and hosts.
    names = ("/etc/resolv.conf", "/etc/hosts")
    mounts = [mount for mount in mounts if mount["destination"] not in names]
    theirs["mounts"] = mounts + [
        {"destination": path, "source": path, "type": "bind", "options": ["rbind", "ro"]}
        for path in names
    ]
    # What an image does not state is no annotation (umoci 0.4 writes empty ones), and ours join.
    own = {k: v for k, v in ours["annotations"].items() if k.startswith("dev.dockerc.")}
    theirs["annotations"] = {k: v for k, v in theirs["annotations"].items() if v} | own
    return theirs


def normalised(config: Json) -> Json:
    """Without what means nothing: the order of namespaces and mounts, and an empty list."""
    copy: Json = json.loads(json.dumps(config))
    copy["linux"]["namespaces"].sort(key=lambda namespace: namespace["type"])
    copy["mounts"].sort(key=lambda mount: mount["destination"])
    copy["process"]["user"].setdefault("additionalGids", [])
    return copy


def test_equals_umoci_unpack(layout: Path, tmp_path: Path) -> None:
    """The command itself that dockerc used to run, with the users of the unpacked tree."""
    run("umoci", "unpack", "--rootless", "--image", f"{layout}:base", tmp_path / "bundle")
    theirs = json.loads((tmp_path / "bundle" / "config.json").read_bytes())
    with open_image(f"oci:{layout}:base", AMD64) as image:
        (tmp_path / "layer.tar").write_bytes(layer_contents(image)[0])
        with tarfile.open(tmp_path / "layer.tar") as tar:

            def read_file(path: str) -> bytes | None:
                file = tar.extractfile(path.lstrip("/"))
                return file.read() if file else None

            ours = runtime_config(
                image.config,
                reference=image.reference,
                digest=image.digest,
                version="1",
                rootfull=False,
                read_file=read_file,
            )
        assert normalised(ours) == normalised(adapted(theirs, ours, image.config, False))


# What umoci does not have


def test_annotations_of_our_own() -> None:
    image = {
        "config": {
            "Entrypoint": ["/a", 'b "ü"'],
            "Cmd": ["c"],
            "Labels": {
                "dev.dockerc.rootfull": "true",
                "dev.dockerc.evil": "1",
                "org.opencontainers.image.os": "label wins",
            },
            "Volumes": {"/b": {}, "a": {}},
        },
        "os": "linux",
    }
    assert convert(image)["annotations"] == {
        "dev.dockerc.args": "program",
        "dev.dockerc.cmd": '["c"]',
        "dev.dockerc.digest": "sha256:1",
        "dev.dockerc.entrypoint": '["/a","b \\"ü\\""]',
        "dev.dockerc.reference": "oci:x",
        "dev.dockerc.version": "9",
        "dev.dockerc.volumes": '["/a","/b"]',
        "org.opencontainers.image.os": "label wins",
    }
    assert convert(image, rootfull=True)["annotations"]["dev.dockerc.rootfull"] == "true"
    assert convert({})["annotations"]["dev.dockerc.entrypoint"] == "[]"
    assert convert({"config": None})["process"]["args"] == ["sh"]


def test_capabilities_are_dockers() -> None:
    root = convert({})["process"]["capabilities"]
    assert len(root["bounding"]) == 14
    assert root["effective"] == root["permitted"] == root["bounding"]
    assert root["ambient"] == root["inheritable"] == []
    user = convert({"config": {"User": "app"}})["process"]["capabilities"]
    assert user["bounding"] == root["bounding"]
    assert user["effective"] == user["permitted"] == []


def test_an_images_home_is_kept_and_odd_variables_are_not() -> None:
    env = convert({"config": {"Env": ["HOME=/x", "NOVALUE", "=x", "A="]}})["process"]["env"]
    assert env[1:] == ["HOME=/x", "A="]
    assert convert({"config": {"WorkingDir": "srv"}})["process"]["cwd"] == "/srv"


@pytest.mark.parametrize(
    ("spec", "mapped"),
    [("", False), ("root", False), ("0:0", False), ("app", True), ("0:5", True), ("5:0", True)],
)
def test_which_processes_want_mapped_ids(spec: str, mapped: bool) -> None:
    assert requires_mapped_uids(convert({"config": {"User": spec}})) is mapped


def test_bytes_are_the_same_each_time() -> None:
    image = {"config": {"Labels": {"b": "ü", "a": "1"}}}
    data = config_bytes(convert(image))
    assert data == config_bytes(convert({"config": {"Labels": {"a": "1", "b": "ü"}}}))
    assert json.loads(data) == convert(image)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"User": "nobody"}, "user 'nobody', who is not in the image's /etc/passwd"),
        ({"User": "app:nogroup"}, "group 'nogroup', which is not in the image's /etc/group"),
        ({"User": "broken"}, "user 'broken'"),
        ({"User": "2147483648"}, "id beyond 2147483647"),
        ({"User": "0:99999999999999999999"}, "id beyond"),
        ({"User": "-1"}, "user '-1'"),
        ({"User": 0}, "'User' must be a string"),
        ({"Env": "A=b"}, "'Env' must be a list"),
        ({"Env": [1]}, "each of 'Env' must be a string"),
        ({"Cmd": {"a": 1}}, "'Cmd' must be a list"),
        ({"Cmd": ["a\0b"]}, "a NUL"),
        ({"Env": ["a=\0"]}, "a NUL"),
        ({"WorkingDir": "/\0"}, "a NUL"),
        ({"Labels": {"a": 1}}, "'Labels' must hold strings"),
        ({"ExposedPorts": []}, "'ExposedPorts' must be an object"),
        ({"Volumes": "x"}, "'Volumes' must be an object"),
    ],
)
def test_refusals(config: Json, sentence: str) -> None:
    with pytest.raises(DockercError, match=sentence):
        convert({"config": config})


def test_users_without_files_are_numbers() -> None:
    def read_file(path: str) -> bytes | None:
        return None

    assert find_user("", read_file) == User(0, 0, (), "/")
    assert find_user("5:6", read_file) == User(5, 6, (), "/")
    with pytest.raises(DockercError, match="user 'root'"):
        find_user("root", read_file)


def test_user_files_are_bounded() -> None:
    with pytest.raises(DockercError, match="at most 1048576 are read"):
        find_user("app", files(passwd=b"x" * (17 << 20)))


@given(st.binary(max_size=200), st.binary(max_size=200), st.text(max_size=12))
def test_any_user_files_give_a_user_or_a_sentence(passwd: bytes, group: bytes, spec: str) -> None:
    with_root = files(passwd=passwd + b"\nroot:x:0:0::/root:\n", group=group)
    try:
        user = find_user(spec, with_root)
    except DockercError:
        return
    assert 0 <= user.uid < 1 << 31 and 0 <= user.gid < 1 << 31
