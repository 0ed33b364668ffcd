"""Runs Python as a child that is told from other processes of the machine: adopting.py ARGS…"""

from __future__ import annotations

import os
import sys

from leftovers import adopt_orphans

if __name__ == "__main__":
    adopt_orphans()
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
