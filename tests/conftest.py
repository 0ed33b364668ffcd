"""What all tests share: a place that ordinary users can reach, ways to run, real images."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from cache_support import Builder, make_builder
from hostile_support import NoElf, sound_executables
from images_support import (
    Layout,
    LyingRegistry,
    docker_registry,
    isolate,
    lying_registry,
    made_images,
    on,
)
from leftovers import adopt_orphans
from marks import markers_of
from registry_support import (
    Authority,
    Closed,
    TokenServer,
    password_closed,
    token_closed,
    token_server,
)
from support import FIXTURES, TESTS, Runner, dockerc, need

from toolkit.files.user import is_root


def pytest_configure(config: pytest.Config) -> None:
    """What the tests start can be told from other processes of the machine, and takes signals.

    A caller that ignores some (nohup, a shell's `&`) would pass that on to every program.
    """
    names = [name for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM") if hasattr(signal, name)]
    for number in (getattr(signal, name) for name in names):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    # How long an example takes depends on what else the machine does.
    hypothesis.settings.register_profile("untimed", hypothesis.settings.default, deadline=None)
    hypothesis.settings.load_profile("untimed")
    # Of several processes, each that runs tests was started by tests/adopting.py.
    is_worker = hasattr(config, "workerinput") or config.getoption("tx", None)
    if sys.platform == "linux" and hasattr(os, "fork") and not is_worker:
        adopt_orphans()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list[Any]) -> None:
    """`-n` starts processes that run tests; execnet takes the words of a shell for `python`."""
    for spec in specs:
        spec.python = shlex.join([sys.executable, str(TESTS / "adopting.py")])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """For `-n auto`: many tests wait for a while, or for something to end."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    processors = len(os.sched_getaffinity(0))
    return processors + (processors + 1) // 2


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI runs, everything is installed: a skipped test is one that did not prove a thing.
    Elsewhere, markers must tell beforehand what is missing."""
    report = yield
    if not report.skipped or hasattr(report, "wasxfail"):
        return report
    wrong = ""
    if "CI" in os.environ:
        wrong = "which CI does not allow"
    elif "is not installed" in str(report.longrepr) and not item.get_closest_marker("peers"):
        wrong = "but not marked `peers`"
    if wrong:
        report.outcome = "failed"
        report.longrepr = f"skipped, {wrong}: {report.longrepr}"
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Where CI runs, a failure is told at once: a run that is stopped tells nothing at its end."""
    if report.failed and "CI" in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
        print(f"\n{report.nodeid} ({report.when}):\n{report.longreprtext}", flush=True)


FAST = [
    "architecture", "baked", "bundle", "contract", "copy", "exact_archives", "exact_blocks",
    "exact_entries", "exact_files", "exact_limits", "exact_trees", "exact_writes",
    "footer", "format", "help", "inspect", "limits", "marks", "oci", "packer", "platforms",
    "progress", "reference", "registries_conf", "stream", "tar", "tar_fields", "users",
    "zig_rooms",
]  # fmt: skip
"""Test files that together take less than a minute."""


PORTABLE = [
    "chunks", "exact_blocks", "exact_entries", "exact_limits", "exact_trees", "exact_writes",
    "footer", "hash_tree", "kernel_hostile", "packer", "platforms", "portable", "profile",
    "reference", "signed_block", "space", "squashfs", "start_list", "stream", "tar_fields",
    "users",
]  # fmt: skip
"""Test files for every system (CONTRIBUTING.md); the rest of the suite needs Linux."""


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Where there is no Linux, the other files cannot even be imported."""
    has_linux = sys.platform == "linux" and hasattr(os, "fork")
    name = collection_path.stem.removeprefix("test_")
    is_other = collection_path.name.startswith("test_") and name not in PORTABLE
    return True if is_other and not has_linux else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """tests/marks.py finds who wants root or peers; `-m fast` (make test-fast) takes the rest of
    the fast files."""
    for item in items:
        assert isinstance(item, pytest.Function)
        for marker in markers_of(item):
            item.add_marker(marker)
        if "images" in item.fixturenames:
            item.add_marker("slow")
        others = {marker.name for marker in item.iter_markers()} & {"root", "peers", "slow"}
        if item.path.stem.removeprefix("test_") in FAST and not others:
            item.add_marker("fast")
        if item.path.stem.removeprefix("test_") in PORTABLE and not others - {"slow"}:
            item.add_marker("portable")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """`@pytest.mark.root(REASON)` skips the test for all others."""
    marker = item.get_closest_marker("root")
    if marker and marker.args and not is_root():
        pytest.skip(marker.args[0])


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The tests neither use nor fill the user's cache, and have no configuration of the user's."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["DOCKERC_CONFIG"] = os.devnull


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A directory that every user can enter, as pytest's own cannot be."""
    directory = Path(tempfile.mkdtemp(prefix="dockerc-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def shared(place: Path) -> Iterator[Path]:
    """The same for one test; every user may write there."""
    directory = Path(tempfile.mkdtemp(dir=place))
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(params=["user", pytest.param("root", marks=pytest.mark.root("root's own"))])
def run(request: pytest.FixtureRequest) -> Runner:
    """Runs a command as an ordinary user, and as root."""
    return Runner(request.param == "root")


@pytest.fixture
def run_as_user() -> Runner:
    """Runs a command as an ordinary user only."""
    return Runner(as_root=False)


@pytest.fixture(scope="session")
def hello(place: Path) -> Path:
    """The fixture image, built."""
    output = place / "hello"
    dockerc("build", f"oci:{FIXTURES}/hello", "-o", output)
    return output


@pytest.fixture(scope="session")
def sound(place: Path) -> dict[str, bytes]:
    """Small executables of each kind, whole, for tests to damage."""
    return sound_executables(place)


@pytest.fixture
def no_elf(monkeypatch: pytest.MonkeyPatch) -> None:
    """lief has its own process, and its own test: a third of a second for each mutant."""
    monkeypatch.setattr("toolkit.services.inspect.ElfProbe", NoElf)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The user's directory, with no configuration but what a test writes there."""
    isolate(monkeypatch, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An OCI layout with an image for amd64, to be changed at will."""
    layout = Layout(tmp_path / "layout")
    layout.write(layout.index(on(layout.manifest(), "amd64")))
    return layout


@pytest.fixture
def liar(layout: Layout) -> Iterator[LyingRegistry]:
    """A false registry that, so far, serves the truth: the layout's image as app:latest."""
    with lying_registry(layout.path) as registry:
        yield registry


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority that nobody trusts unless told to."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The debian and python images as OCI layouts; $DOCKERC_TEST_IMAGES may name ready ones."""
    if ready := os.environ.get("DOCKERC_TEST_IMAGES"):
        return Path(ready)
    if os.geteuid() != 0:
        pytest.skip("real images are made by root")
    need("mmdebstrap", "buildah")
    return made_images(tmp_path_factory)


@pytest.fixture(scope="session")
def deb(images: Path, place: Path) -> Path:
    """The debian image, built."""
    output = place / "deb"
    dockerc("build", f"oci:{images}/debian", "-o", output)
    return output


@pytest.fixture(scope="session")
def python(images: Path, place: Path) -> Path:
    """The image with Python, built."""
    output = place / "python"
    dockerc("build", f"oci:{images}/python", "-o", output)
    return output


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a real registry, with nothing in it."""
    with docker_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
def builder(registry: str, tmp_path: Path) -> Builder:
    """Builds an image with caches in that registry."""
    return make_builder(registry, tmp_path)


@pytest.fixture(scope="module")
def password_registry(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[Closed]:
    with password_closed(tmp_path_factory.mktemp("passwords"), authority) as closed:
        yield closed


@pytest.fixture(scope="module")
def tokens(authority: Authority) -> Iterator[TokenServer]:
    with token_server(authority) as server:
        yield server


@pytest.fixture(scope="module")
def token_registry(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, tokens: TokenServer
) -> Iterator[Closed]:
    with token_closed(tmp_path_factory.mktemp("tokens"), authority, tokens) as closed:
        yield closed
