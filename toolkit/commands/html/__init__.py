"""The page of `inspect --html`: its text, its style and its program."""
