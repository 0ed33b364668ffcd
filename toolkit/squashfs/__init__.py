"""Squashfs 4.0: its structures, and a writer that takes a merged tree."""
