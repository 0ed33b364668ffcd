"""`dockerc extract`: the payload out of an executable, in any of its forms."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.errors import DockercError, UsageError
from toolkit.files.printable import printable

if TYPE_CHECKING:
    from toolkit.executable.executable import Executable


def extract(
    app: Annotated[Path, typer.Argument(metavar="APP", help="An executable made by dockerc.")],
    output: Annotated[
        Path | None,
        typer.Argument(metavar="OUT", help="The squashfs file to write; - is standard output."),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", metavar="DIR", help="Write an OCI bundle for runc or crun."),
    ] = None,
    rootfs: Annotated[
        Path | None, typer.Option("--rootfs", metavar="DIR", help="Write the image's files.")
    ] = None,
    oci: Annotated[
        Path | None, typer.Option("--oci", metavar="DIR", help="Write an image: an OCI layout.")
    ] = None,
    docker_archive: Annotated[
        Path | None,
        typer.Option("--docker-archive", metavar="FILE", help="Write an image for docker load."),
    ] = None,
    privileged_files: Annotated[
        bool,
        typer.Option(
            "--privileged-files",
            help="With --rootfs and --bundle: keep set-user-ID and set-group-ID bits and, as root, "
            "device nodes and security attributes such as file capabilities.",
        ),
    ] = False,
) -> None:
    """Extract the payload, as squashfs, bundle, files or image.

    dockerc extract py out.sqfs

    dockerc extract py --oci layout && dockerc build oci:layout -o py2
    """
    chosen = [way for way in (output, bundle, rootfs, oci, docker_archive) if way is not None]
    if len(chosen) != 1:
        raise UsageError("name the output: OUT, --bundle, --rootfs, --oci or --docker-archive")
    if privileged_files and not (rootfs or bundle):
        raise UsageError("--privileged-files goes with --rootfs or --bundle")

    from toolkit.executable.executable import open_executable

    if any(way.exists() and app.exists() and way.samefile(app) for way in chosen):
        raise UsageError(f"{chosen[0]} is the executable itself; name another file")
    with open_executable(app) as executable:
        if output is not None:
            _squashfs(executable, output)
            return

        from toolkit.squashfs.read.lookup import reading

        with reading(str(app)):
            if rootfs or bundle:
                _directory(executable, rootfs, bundle, privileged_files)
            elif oci:
                from toolkit.services.export.image import write_oci_layout

                write_oci_layout(executable, oci)
            elif docker_archive:
                from toolkit.services.export.image import write_docker_archive

                name = write_docker_archive(executable, docker_archive)
                print(f"{docker_archive}: will be loaded as {name}", file=sys.stderr)


def _squashfs(executable: Executable, output: Path) -> None:
    from toolkit.executable.executable import copy_payload
    from toolkit.files.atomic import atomic_file
    from toolkit.files.copy import stream_range

    if str(output) != "-":
        with atomic_file(output, 0o644, sync=False) as file:
            copy_payload(executable, file)
        return
    if sys.stdout.isatty():
        raise DockercError("a squashfs cannot go to a terminal; redirect the output")
    size = executable.superblock.bytes_used
    stream_range(executable.file, executable.footer.offset, sys.stdout.buffer, size)


def _directory(
    executable: Executable, rootfs: Path | None, bundle: Path | None, privileged: bool
) -> None:
    from toolkit.services.export.bundle import write_bundle, write_rootfs

    if rootfs:
        left_out = write_rootfs(executable, rootfs, privileged=privileged)
    elif bundle:
        left_out = write_bundle(executable, bundle, privileged=privileged)
    for what, count in sorted(left_out.items()):
        print(f"dockerc: note: not kept: {count} {printable(what)}", file=sys.stderr)
