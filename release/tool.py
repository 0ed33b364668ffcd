"""What Python of the tool's own executable runs, once its caller's machine is the root."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

image = os.environ.pop("DOCKERC_IMAGE")
# Programs that are started do not get the image.
fcntl.fcntl(int(Path(image).name), fcntl.F_SETFD, fcntl.FD_CLOEXEC)
sys.path.insert(0, f"{image}/dockerc/site")
sys.executable = f"{image}/dockerc/python"
sys.argv[0] = "dockerc"

from toolkit.cli import main  # noqa: E402

main()
