"""Build the runtime stub for every architecture, run its tests, or make OUT/fuzz of libFuzzer.

    python build.py --zstd DIR --version STRING --out DIR [--cache DIR]
    python build.py --zstd DIR [--cache DIR] --test
    python build.py --zstd DIR --out DIR [--cache DIR] --fuzz

DIR of --zstd holds zstd.c, the single-file libzstd. Zig is called directly: its build system
(`zig build`, 0.17) first compiles itself, which takes longer than both stubs do.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ARCHITECTURES = ("x86_64", "aarch64")
SOURCE = Path(__file__).resolve().parent / "src"
CONTRACT = SOURCE.parent.parent / "fixtures" / "contract"
ZIG = (sys.executable, "-m", "ziglang")


def zig(arguments: Sequence[str], cache: Path, cwd: Path) -> None:
    environment = {
        **os.environ,
        "ZIG_LOCAL_CACHE_DIR": str(cache),
        "ZIG_GLOBAL_CACHE_DIR": str(cache),
    }
    subprocess.run([*ZIG, *arguments], check=True, cwd=cwd, env=environment)


def libzstd(arch: str, zstd: Path, work: Path, cache: Path, *more: str) -> Path:
    """Compile libzstd against musl's headers; no musl is built, and none is linked."""
    out = work / f"zstd-{arch}{''.join(more)}.o"
    flags = [
        # Decodes an eighth faster than -O3, whose unrolled loops cost more than they save.
        "-Os",
        "-ffunction-sections",
        "-fdata-sections",
        "-fno-sanitize=all",
        "-fno-stack-protector",
        "-fno-unwind-tables",
        "-fno-asynchronous-unwind-tables",
    ]
    # No assembly; no error texts; no variant for windows larger than any squashfs block.
    defines = [
        "-DZSTD_DISABLE_ASM=1",
        "-DZSTD_STRIP_ERROR_STRINGS=1",
        "-DZSTD_FORCE_DECOMPRESS_SEQUENCES_SHORT=1",
        "-DHUF_FORCE_DECOMPRESS_X1=1",
    ]
    target = ["-target", f"{arch}-linux-musl", *defines, "-g0"]
    zig(["cc", "-c", *target, *flags, *more, "-o", str(out), str(zstd / "zstd.c")], cache, work)
    return out


def program(name: str, arch: str, work: Path, cache: Path, *more: str) -> Path:
    """Build a program that the stub carries in itself: kilobytes, without a libc."""
    binary = work / f"{name}-{arch}"
    options = ["-O", "ReleaseSmall", "-fstrip", "-fno-unwind-tables", "--gc-sections", *more]
    target = ["-target", f"{arch}-linux-none", "-z", "norelro"]
    source = f"-Mroot={SOURCE / 'launcher' / f'{name}.zig'}"
    zig(["build-exe", f"-femit-bin={binary}", *target, *options, source], cache, work)
    return binary


def signatures(arch: str, work: Path, cache: Path, *more: str) -> Path:
    """Compile the check of signatures, which no one waits for, as small as it can be."""
    out = work / f"ed25519-{arch}{''.join(more)}.o"
    options = ["-O", "ReleaseSmall", "-fstrip", "-fno-unwind-tables", "-ffunction-sections", *more]
    source = f"-Mroot={SOURCE / 'signatures' / 'ed25519.zig'}"
    target = ["-target", f"{arch}-linux-none"]
    zig(["build-obj", f"-femit-bin={out}", *target, *options, source], cache, work)
    return out


def hashing(arch: str, work: Path, cache: Path, *more: str) -> list[Path]:
    """Compile what uses instructions that not every processor of the architecture has."""
    if arch != "x86_64":
        return []
    out = work / f"hashing-{arch}{''.join(more)}.o"
    options = ["-O", "ReleaseSmall", "-fstrip", "-fno-unwind-tables", "-ffunction-sections", *more]
    source = f"-Mroot={SOURCE / 'hashing' / 'sha256_sixteen.zig'}"
    target = ["-target", f"{arch}-linux-none", "-mcpu=x86_64+avx512f+avx512bw"]
    zig(["build-obj", f"-femit-bin={out}", *target, *options, source], cache, work)
    return [out]


def modules(
    arch: str, version: str, work: Path, zstd: Path, cache: Path, more: str = ""
) -> list[str]:
    """What the stub is made of, as Zig's arguments; `more` are further build options."""
    objects = [libzstd(arch, zstd, work, cache), signatures(arch, work, cache)]
    objects += hashing(arch, work, cache)
    options = work / f"build_options-{arch}.zig"
    escaped = version.encode("unicode_escape").decode("ascii").replace('"', '\\"')
    launcher = program("launcher", arch, work, cache).name
    # It runs wherever the kernel maps it, for the program may have an address of its own.
    loader = program("loader", arch, work, cache, "-fPIE").name
    # Zig embeds what is below the directory of the file that names it.
    licences = work / "licences.txt"
    licences.write_text(
        "\n".join((SOURCE.parent / name).read_text() for name in ("NOTICE", "LICENSE"))
    )
    options.write_text(
        f'pub const version = "{escaped}";\npub const launcher = @embedFile("{launcher}");\n'
        f'pub const loader = @embedFile("{loader}");\n'
        f'pub const licences = @embedFile("{licences.name}");\n{more}'
    )
    return [
        *["-target", f"{arch}-linux-none", "-O", "ReleaseSafe", "-fstrip", "-fno-unwind-tables"],
        *map(str, objects),
        *["--dep", "build_options", f"-Mroot={SOURCE / 'main.zig'}", f"-Mbuild_options={options}"],
    ]


def build(arch: str, zstd: Path, version: str, out: Path, cache: Path) -> Path:
    """Build one stub as OUT/dockerc-runtime-ARCH."""
    out.mkdir(parents=True, exist_ok=True)
    work = cache / "work"
    work.mkdir(parents=True, exist_ok=True)
    binary = out / f"dockerc-runtime-{arch}"
    # Zig's start-up raises RLIMIT_STACK to what --stack says, and the app would inherit it: stay
    # below every usual limit.
    # There is nothing to relocate, so nothing to make read-only after that (a page of padding).
    link = [f"-femit-bin={binary}", "--gc-sections", "-z", "norelro"]
    link += ["--stack", str(256 * 1024)]
    zig(["build-exe", *link, *modules(arch, version, work, zstd, cache)], cache, work)
    return binary


def test(zstd: Path, cache: Path) -> None:
    work = cache / "work"
    work.mkdir(parents=True, exist_ok=True)
    arch = os.uname().machine
    # What the builder's tests read, too.
    contract = ""
    for file in sorted(CONTRACT.glob("*.json")):
        shutil.copy(file, work)
        contract += f'pub const {file.stem} = @embedFile("{file.name}");\n'
    zig(["test", *modules(arch, "test", work, zstd, cache, contract)], cache, work)


def fuzz(zstd: Path, out: Path, cache: Path) -> None:
    """Build OUT/fuzz, which wants a C++ compiler and LLVM's libFuzzer."""
    work = cache / "work"
    for directory in (work, out):
        directory.mkdir(parents=True, exist_ok=True)
    archives = sorted(Path("/usr/lib").glob("llvm-*/lib/libFuzzer.a"))
    if not archives:
        sys.exit("libFuzzer.a is not installed (libfuzzer-14-dev in Debian 12)")
    target = work / "fuzz.o"
    parts = [
        libzstd("x86_64", zstd, work, cache, "-fPIC"),
        signatures("x86_64", work, cache, "-fPIC"),
        *hashing("x86_64", work, cache, "-fPIC"),
    ]
    options = ["-ffuzz", "-lc", "-fcompiler-rt", "-target", "x86_64-linux-gnu", "-O", "ReleaseSafe"]
    zig(["build-obj", *options, f"-femit-bin={target}", str(SOURCE / "fuzz.zig")], cache, work)
    objects = [target, *parts, archives[-1]]
    subprocess.run(["c++", *objects, "-lpthread", "-o", out / "fuzz"], check=True)


def filter_dump(arch: str, out: Path, cache: Path) -> None:
    """Build OUT, which writes the system call filters of that architecture's stub (tests)."""
    cache.mkdir(parents=True, exist_ok=True)
    target = ["-target", f"{arch}-linux-none", "-O", "ReleaseSafe", "-fstrip"]
    source = f"-Mroot={SOURCE / 'filter_dump.zig'}"
    zig(["build-exe", f"-femit-bin={out}", *target, source], cache, cache)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--zstd", type=Path, required=True)
    parser.add_argument("--version", default="unknown")
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--cache", type=Path, default=Path(".zig-cache"))
    parser.add_argument("--test", action="store_true")
    parser.add_argument("--fuzz", action="store_true")
    given = parser.parse_args()
    zstd, out, cache = given.zstd.resolve(), given.out.resolve(), given.cache.resolve()
    if given.test:
        test(zstd, cache)
        return
    if given.fuzz:
        fuzz(zstd, out, cache)
        return
    with ThreadPoolExecutor() as pool:
        for binary in pool.map(
            lambda arch: build(arch, zstd, given.version, out, cache), ARCHITECTURES
        ):
            print(f"{binary}: {binary.stat().st_size} bytes")


if __name__ == "__main__":
    main()
