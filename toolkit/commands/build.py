"""`dockerc build`: an image becomes one executable file."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from toolkit.commands import baked, registry_options
from toolkit.commands import build_options as options
from toolkit.commands.baked_run import BakingCommand, baked_words
from toolkit.commands.cache_options import (
    CacheFrom,
    CacheKey,
    CacheSign,
    CacheTo,
    remote_caches,
)
from toolkit.commands.profiles import ProfileFiles, RecordArgs, Starts, missing_note
from toolkit.errors import DockercError, UsageError
from toolkit.files.printable import printable

if TYPE_CHECKING:
    from toolkit.bundle.baked import BakedOptions
    from toolkit.bundle.profile import Profile
    from toolkit.commands.output import Output
    from toolkit.images.auth.access import Access
    from toolkit.images.source import Platform
    from toolkit.layers.added import AddedFile
    from toolkit.services.build import Built
    from toolkit.services.cache import Cache
    from toolkit.services.context import Recipe
    from toolkit.services.pack_layers import Parameters
    from toolkit.services.progress import Progress
    from toolkit.services.remote_cache import CacheNames, RemoteCaches


SETTINGS = {"cls": BakingCommand}


def build(
    context: typer.Context,
    image: options.Image = None,
    old_image: options.OldImage = None,
    output: options.Output = None,
    force: options.Force = False,
    file: options.File = None,
    build_arg: options.BuildArg = None,
    target: options.Target = None,
    tag: options.Tag = None,
    arch: options.Arch = None,
    override_os: options.OverrideOs = None,
    platform: options.PlatformName = None,
    all_platforms: options.AllPlatforms = False,
    creds: options.Creds = None,
    password_stdin: options.PasswordStdin = False,
    authfile: registry_options.Authfile = None,
    tls_verify: options.TlsVerify = None,
    cert_dir: options.CertDir = None,
    rootfull: options.Rootfull = False,
    env: baked.Env = None,
    env_file: baked.EnvFile = None,
    volume: baked.Volume = None,
    workdir: baked.Workdir = None,
    entrypoint: baked.Entrypoint = None,
    cmd: baked.Cmd = None,
    user: baked.User = None,
    label: baked.Label = None,
    args: baked.Args = None,
    add_file: options.AddFile = None,
    profile: ProfileFiles = None,
    record: RecordArgs = None,
    pin_key: options.PinKey = None,
    compression: options.CompressionName = options.Compression.ZSTD,
    level: options.Level = 10,
    block_size: options.BlockSizeName = options.BlockSize.K512,
    no_cache: options.NoCache = False,
    cache_from: CacheFrom = None,
    cache_to: CacheTo = None,
    cache_key: CacheKey = None,
    cache_sign: CacheSign = None,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    as_json: options.AsJson = False,
    dry_run: options.DryRun = False,
) -> None:
    """Turn a container image into one executable file.

    dockerc build docker://python:3.12 -o py

    dockerc build . -o app

    Other options of docker run (dockerc-run(1)), by their long names, become its defaults.
    """
    image = options.one_image(image, old_image)
    recipe = options.recipe(image, file, build_arg, target, tag)
    given = baked.options(
        env, volume, workdir, entrypoint, cmd, user, label, args, env_file, baked_words(context)
    )
    creds = options.with_password(creds, password_stdin)
    reference = options.reference(image, recipe)
    access = registry_options.access(creds, tls_verify, cert_dir, authfile)
    wanted = _Wanted(
        reference, options.parameters(compression, level, block_size), given,
        options.added(add_file), Starts.of(profile, record), access, options.cache(no_cache),
        remote_caches(cache_from, cache_to, cache_key, cache_sign, no_cache, access, reference),
        rootfull, options.pinned(pin_key), _Report(quiet, debug, as_json),
    )  # fmt: skip
    targets = options.targets(arch, override_os, platform, all_platforms)
    _build(wanted, recipe, output, force, targets, dry_run)


@dataclass(frozen=True)
class _Report:
    """What a user sees of it."""

    quiet: bool
    debug: bool
    as_json: bool


@dataclass(frozen=True)
class _Wanted:
    """What was asked for, the same for every platform."""

    reference: str
    parameters: Parameters
    baked: BakedOptions
    added: tuple[AddedFile, ...]
    starts: Starts
    access: Access
    cache: Cache | None
    remote: CacheNames | None
    rootfull: bool
    pinned: bytes | None
    report: _Report


def _build(
    wanted: _Wanted,
    recipe: Recipe | None,
    given: Path | None,
    force: bool,
    targets: options.Targets,
    dry_run: bool,
) -> None:
    """Build for each platform; raises DockercError."""
    from toolkit.commands.debug_log import log_to_stderr
    from toolkit.commands.output import Output, output_name
    from toolkit.images.platforms import MissingPlatform

    report = wanted.report
    if report.debug:
        log_to_stderr()
    if dry_run and recipe:
        raise UsageError("--dry-run does not go with a directory, which only an engine understands")
    output = Output(given or output_name(wanted.reference, recipe), force)
    if output.is_standard and (targets.all or report.as_json):
        raise UsageError("standard output takes one executable and nothing else")
    made: list[dict[str, Any]] = []
    missing: MissingPlatform | None = None
    for platform in targets.platforms:
        place = output.of(platform.architecture) if targets.all else output
        try:
            if not dry_run:
                place.check(wanted.reference)
            if given is None:
                print(f"dockerc: no --output, so the file is {place.path}", file=sys.stderr)
            each = _from_context(wanted, recipe, platform)
            made.append(_plan(each, place, platform) if dry_run else _make(each, place, platform))
        except MissingPlatform as error:
            missing = error
    if missing and not made:
        raise missing
    if report.as_json:
        print(json.dumps(made if targets.all else made[0], indent=2))


def _from_context(wanted: _Wanted, recipe: Recipe | None, platform: Platform) -> _Wanted:
    """The same for the image that an engine makes of the directory, where one was named."""
    if recipe is None:
        return wanted
    from toolkit.services.context import build_image

    return replace(wanted, reference=build_image(recipe, platform, quiet=wanted.report.quiet))


def _plan(wanted: _Wanted, output: Output, platform: Platform) -> dict[str, Any]:
    """What would be done; nothing is written and no layer is read."""
    from toolkit.commands.progress_display import showing
    from toolkit.services.build import plan

    with showing(wanted.report.quiet) as progress, _opened(wanted.remote, progress) as remote:
        planned = plan(
            wanted.reference, platform, wanted.access, wanted.parameters, wanted.cache, remote
        )
    if not wanted.report.as_json:
        print(f"{output.path}: would be made of {printable(planned.reference)}")
        print(f"  {planned.digest}, {printable(str(planned.platform))}")
        for layer in planned.layers:
            size = "?" if layer.size is None else f"{layer.size / 1e6:.1f}"
            place = f", in {layer.cache_from}" if layer.cache_from else ""
            print(f"  {layer.diff_id}: {size} MB{', cached' if layer.cached else place}")
    return {"output": str(output.path), **planned.as_json()}


def _make(wanted: _Wanted, output: Output, platform: Platform) -> dict[str, Any]:
    """Build for one platform and say what was made; raises DockercError."""
    from toolkit.commands.progress_display import showing
    from toolkit.services.build import build as build_executable

    started = time.monotonic()
    with (
        output.writing() as path,
        showing(wanted.report.quiet) as progress,
        _opened(wanted.remote, progress) as remote,
    ):

        def write(path: Path, profile: Profile | None, pinned: bytes | None = None) -> Built:
            return build_executable(
                wanted.reference,
                path,
                platform,
                access=wanted.access,
                rootfull=wanted.rootfull,
                baked=wanted.baked,
                parameters=wanted.parameters,
                cache=wanted.cache,
                progress=progress,
                added=wanted.added,
                profile=profile,
                pinned=pinned,
                remote=remote,
            )

        profile = wanted.starts.profile
        if wanted.starts.record is not None:
            from toolkit.services.record import recorded

            profile = recorded(write, path.parent, wanted.starts.record, profile, platform)
        built = write(path, profile, wanted.pinned)
    for what, count in sorted(built.left_out.items()):
        print(
            f"dockerc: note: left out of the executable: {count} {printable(what)}",
            file=sys.stderr,
        )
    if built.largest_id > _USUAL_RANGE:
        print(
            f"dockerc: note: files of the image belong to id {built.largest_id}; who runs it"
            f" with fewer subordinate ids (/etc/subuid) sees them as nobody's",
            file=sys.stderr,
        )
    if wanted.pinned:
        print(
            f"dockerc: note: {printable(str(output.path))} does not start before `dockerc sign`"
            " gives it a signature of the key that is pinned in it",
            file=sys.stderr,
        )
    if built.missing:
        print(missing_note(built.missing), file=sys.stderr)
    if not wanted.report.quiet:
        _say_what_was_made(output.path, built, time.monotonic() - started)
    if built.not_stored:
        raise DockercError(
            f"{output.path} is built, but not all layers are cached: {built.not_stored}"
        )
    return {"output": str(output.path), **built.as_json()}


@contextmanager
def _opened(names: CacheNames | None, progress: Progress) -> Iterator[RemoteCaches | None]:
    """The caches in registries, for as long as the context."""
    if names is None:
        yield None
        return
    from toolkit.services.remote_cache import RemoteCaches

    with closing(RemoteCaches(names, progress)) as remote:
        yield remote


_USUAL_RANGE = 65536
"""Of subordinate ids, which useradd(8) gives; with the caller's own, the largest id in it."""


def _say_what_was_made(path: Path, built: Built, seconds: float) -> None:
    source = "" if built.size_in is None else f" from {built.size_in / 1e6:.1f} MB"
    fetched = f" {built.fetched} from remote caches," if built.fetched else ""
    command = path if path.is_absolute() or len(path.parts) > 1 else f"./{path}"
    print(
        f"{path}: {built.size / 1e6:.1f} MB{source}, {printable(str(built.platform))},"
        f" {built.digest},"
        f" {built.cached} of {built.layers} layers cached,{fetched}"
        f" {seconds:.1f} s\n{_USAGE[built.args].format(command)}",
        file=sys.stderr,
    )


_USAGE = {
    "program": "usage: {0} ARGUMENT..., or {0} OPTION... -- ARGUMENT... with options of docker run",
    "docker": "usage: {0} OPTION... ARGUMENT..., options of docker run first",
}
"""By the rule of its arguments."""
