"""Layers: tar entries, packs (layers compressed once), and their merge into one tree."""
