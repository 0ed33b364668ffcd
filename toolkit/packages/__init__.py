"""What is installed in an image: a reader for each kind of package database."""
