"""Bounds on what comes from outside, for those who write payloads and those who read them.

What the builder lets through, every reader must take, so a bound that both need stands here, once.
docs/limits.md lists these and the bounds of single formats, with where each is enforced.
"""

from __future__ import annotations

MAX_CONFIG = 4 << 20
"""Bytes of config.json; the runtime takes no more (config/spec.zig), and JSON multiplies in
memory."""
MAX_ENTRIES = 4_000_000
"""Names in one layer, and in one tree."""
MAX_DEPTH = 1024
"""Directories in one another."""
MAX_PATH = 4095
"""Bytes of a path: what one system call takes (PATH_MAX of linux/limits.h, less its zero)."""
MAX_PAYLOAD_PATH = MAX_PATH + len("rootfs/")
"""The same, seen from the root of the payload."""
MAX_NAME = 255
"""Bytes of a name (NAME_MAX of linux/limits.h)."""
MAX_TARGET = 4095
"""Bytes of a symlink's target: what symlink(2) takes."""
MAX_XATTRS = 128 << 10
"""Bytes of one file's extended attributes, names and values."""
MAX_ID = 0xFFFFFFFE
"""The largest owner: the next means "leave it" to chown(2)."""
MAX_FILE_SIZE = 1 << 40
"""Bytes of one file, holes counted: a sparse file claims any size for nothing."""
MAX_BLOCKS = 8 << 20
"""Blocks of all files of an image, holes counted: four terabytes in blocks of 512 KiB."""
MAX_INODE_TABLE = 192 << 20
"""Bytes of inodes, decompressed."""
MAX_DIRECTORY_TABLE = 192 << 20
"""Bytes of directories, decompressed."""
MAX_USERS = 1 << 20
"""Bytes of an image's passwd or group file, as the runtime has it (config/users.zig)."""
MAX_LAYERS = 500
"""Of an image, each of which is an open file while it is built; docker stops at 127."""
MAX_DOCUMENT = 4 << 20
"""Bytes of a manifest, index or configuration: what registries accept (OCI distribution-spec,
"Pushing Manifests")."""
MAX_NESTING = 100
"""Lists and objects of JSON in one another."""
MAX_STUB = 64 << 20
"""Bytes of a runtime stub."""
MAX_NOTES = 20
"""Different things of one kind that a note names; the others are counted together."""
MAX_CHUNK = 8 << 20
"""Bytes of one chunk of an executable that is in a registry."""
MAX_CHUNKS = 8192
"""Of one executable, each of which is a blob and a request."""
