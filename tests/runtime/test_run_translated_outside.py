"""Without user namespaces: what a run does stays in its own tree and its volumes."""

from __future__ import annotations

import ctypes
import os
import shlex
from pathlib import Path

import pytest
from support import Runner
from test_run_translated import cache, run, sh, start  # noqa: F401 - two fixtures
from translated import Translated

# linkat(2) with AT_SYMLINK_FOLLOW or AT_EMPTY_PATH, by number: perl has none.
PERL = """
my $linkat = `uname -m` =~ /x86/ ? 265 : 37;
sub word { print $_[0] ? 'done' : $!{EXDEV} ? 'other' : $!{EROFS} ? 'read-only' :
    $!{ENOENT} ? 'none' : $!{ENOSYS} ? 'unknown' : $!, ' ' }
sub add { my $file = shift; open(my $f, '>>', $file) or return 0; print $f "more\\n"; close $f }
sub by_link { my ($fd, $new) = @_; my $old = "/proc/self/fd/$fd";
    syscall($linkat, -100, $old, -100, $new, 0x400) == 0 }
sub by_file { my ($fd, $new) = @_; my $old = '';
    syscall($linkat, $fd, $old, -100, $new, 0x1000) == 0 }
"""


def told(run: Translated, app: Path, script: str, *options: str) -> list[str]:  # noqa: F811
    done = run(app, *options, "--", "perl", "-e", f"use Errno; {PERL}{script}")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return str(done.stdout).split()


def test_no_name_in_a_volume_is_a_file_of_the_payload(
    run: Translated,  # noqa: F811
    deb: Path,
    shared: Path,
) -> None:
    shared.chmod(0o777)
    script = """
    word(link '/etc/issue', '/data/a');
    word(rename '/etc/issue', '/data/a');
    word(rename '/etc/apt', '/data/apt');
    open(my $f, '<', '/etc/issue'); my $fd = fileno $f;
    word(by_link($fd, '/data/a')); word(by_file($fd, '/data/a'));
    word(by_file($fd, '/srv/a')); word(add('/srv/a'));
    system('mv /etc/issue.net /data/'); add('/data/issue.net');
    """
    words = ["other"] * 5 + ["done", "done"]
    assert told(run, deb, script, "-v", f"{shared}:/data") == words
    assert [each.name for each in shared.iterdir()] == ["issue.net"], "mv copies it"
    assert (shared / "issue.net").read_text().endswith("more\n")
    unchanged = sh(run, deb, "cat /etc/issue /etc/issue.net")
    assert "more" not in unchanged and len(unchanged.splitlines()) > 1


def test_a_volume_that_is_read_only_does_not_change_by_another_name(
    run: Translated,  # noqa: F811
    deb: Path,
    shared: Path,
) -> None:
    (shared / "given").write_text("mine\n")
    (shared / "given").chmod(0o666)
    script = """
    word(link '/data/given', '/tmp/a'); word(add('/data/given'));
    open(my $f, '<', '/data/given');
    word(by_link(fileno $f, '/tmp/a')); word(by_file(fileno $f, '/tmp/a'));
    """
    words = ["other", "read-only", "other", "other"]
    assert told(run, deb, script, "-v", f"{shared}:/data:ro") == words
    assert (shared / "given").read_text() == "mine\n"


def test_an_open_file_without_a_name_is_the_payload_s(
    run: Translated,  # noqa: F811
    deb: Path,
) -> None:
    script = """
    add('/etc/new'); open(my $f, '<', '/etc/issue'); unlink '/etc/issue';
    my $fd = fileno $f; my $link = "/proc/self/fd/$fd";
    word(add($link)); word(truncate $link, 1); word(chmod 0600, $link); word(utime 1, 1, $link);
    word(by_link($fd, '/srv/a')); word(by_file($fd, '/srv/a'));
    open(my $own, '+>', '/tmp/own'); unlink '/tmp/own'; word(add('/proc/self/fd/' . fileno $own));
    """
    words = ["read-only"] * 4 + ["none"] * 2 + ["done"]
    assert told(run, deb, script) == words
    about = sh(run, deb, "cat /etc/issue; stat -c '%a %Y' /etc/issue")
    assert "more" not in about and about.startswith("Debian") and "600 1\n" not in about


def test_files_that_have_no_name_yet_get_one_where_they_are(
    run: Translated,  # noqa: F811
    deb: Path,
    shared: Path,
) -> None:
    shared.chmod(0o777)
    script = """
    my $openat = `uname -m` =~ /x86/ ? 257 : 56; my $tmpfile = 0x400002 |
        (`uname -m` =~ /x86/ ? 0x10000 : 0x4000);
    for my $dir ('/srv', '/data') {
        my $name = $dir; my $fd = syscall($openat, -100, $name, $tmpfile, 0600);
        my $of = substr $dir, 1;
        word(by_link($fd, "/data/$of")); word(by_link($fd, "/srv/$of"));
    }
    """
    assert told(run, deb, script, "-v", f"{shared}:/data") == ["other", "done", "done", "other"]


def test_newer_calls_do_not_reach_the_machine(
    run: Translated,  # noqa: F811
    deb: Path,
    shared: Path,
) -> None:
    """setxattrat(2), getxattrat(2), listxattrat(2), removexattrat(2)."""
    shared.chmod(0o777)
    script = f"""
    my $path = '{shared}'; my $name = 'user.a'; my $value = pack('QLL', 0, 0, 0);
    for my $call (463 .. 466) {{ word(syscall($call, -100, $path, 0, $name, $value, 16) == 0) }}
    """
    assert told(run, deb, script) == ["unknown"] * 4
    assert os.listxattr(shared) == []


@pytest.mark.parametrize("call", ["chmod 0777, '/data/x'", "truncate '/data/x', 0"])
def test_a_link_that_takes_a_name_is_not_followed(
    run: Translated,  # noqa: F811
    deb: Path,
    shared: Path,
    call: str,
) -> None:
    """Between the look at the name and the call."""
    data, outside = shared / "data", shared / "outside"
    data.mkdir()
    (data / "x").write_text("")
    outside.write_text("precious")
    user = Runner(as_root=False)
    user_id = int(user("id", "-u").stdout)
    for each in (data, data / "x", outside):
        os.chown(each, user_id, user_id)
    (data / "y").symlink_to(outside)
    outside.chmod(0o600)
    libc = ctypes.CDLL(None)
    names = [os.fsencode(data / each) for each in "xy"]
    script = f"exec perl -e {shlex.quote(f'$end = time + 3; while (time < $end) {{ {call} }}')}"
    with start(run, deb, script, options=("-v", f"{data}:/data", "--")) as process:
        exchange = 2
        while process.poll() is None:
            assert libc.renameat2(-100, names[0], -100, names[1], exchange) == 0
    assert process.returncode == 0
    assert outside.read_text() == "precious" and outside.stat().st_mode & 0o777 == 0o600
