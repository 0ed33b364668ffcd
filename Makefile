# For those who have make; the README's commands do without it.
python = .venv/bin/python
images = .cache/images

.PHONY: demo test test-fast bench fuzz mutate
.venv:
	python3 -m venv .venv

demo: .venv
	.venv/bin/pip install -q .
	.venv/bin/dockerc build oci:fixtures/hello -o hello
	./hello

test: .venv
	.venv/bin/pip install -q '.[test]'
	$(python) -m pytest -n auto --dist loadfile

# What needs neither root nor peers, in less than a minute.
test-fast: .venv
	.venv/bin/pip install -q '.[test]'
	$(python) -m pytest -q -m fast

# Root, Debian, and what `.ci/peers squashfs-tools-ng fuse-overlayfs proot zsync curl` installs.
bench: .venv
	.venv/bin/pip install -q .
	tests/make_images.sh $(images) tiny debian python node services
	$(python) bench $(images) --json bench/results.json
	$(python) bench --docs bench/results.json

# The runtime's parsers, for as long as you like; wants a C++ compiler and libFuzzer (libfuzzer-14-dev).
fuzz: .venv
	.venv/bin/pip install -q hatchling "$$(grep -m 1 -o 'ziglang==[0-9.]*' pyproject.toml)"
	$(python) runtimes/build.py --fuzz --out .cache/fuzz --cache .cache/zig \
	    --zstd "$$($(python) -c 'import hatch_build; print(hatch_build.libzstd())')"
	mkdir -p .cache/fuzz/corpus
	.cache/fuzz/fuzz -timeout=10 -rss_limit_mb=512 $(FUZZ) .cache/fuzz/corpus

# Random mutants of the toolkit, and which of them no test finds.
mutate: .venv
	.venv/bin/pip install -q '.[test]'
	$(python) tests/mutate.py $(MUTATE)
