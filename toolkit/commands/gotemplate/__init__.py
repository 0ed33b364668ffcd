"""Go's text/template, as far as `docker inspect --format` is used with it."""
