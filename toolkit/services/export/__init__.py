"""A payload taken apart again: to a directory, a bundle, an image."""
