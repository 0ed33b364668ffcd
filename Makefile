# For those who have make; the README's commands do without it.
python = .venv/bin/python
images = .cache/images

.PHONY: demo test bench
.venv:
	python3 -m venv .venv

demo: .venv
	.venv/bin/pip install -q .
	.venv/bin/dockerc build oci:fixtures/hello -o hello
	./hello

test: .venv
	.venv/bin/pip install -q '.[test]'
	$(python) -m pytest

# Root, Debian and the peers that .ci/run installs.
bench: .venv
	.venv/bin/pip install -q .
	tests/make_images.sh $(images) tiny debian python node
	$(python) bench $(images)
