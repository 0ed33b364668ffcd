#!/bin/sh
# The real images that tests and benchmarks use, as OCI layouts with gzip layers (root, Debian):
#   make_images.sh DIR  ->  DIR/debian:latest  bookworm minbase, by mmdebstrap, 1 layer
#                           DIR/python:latest  + python3 and numpy by apt, + a tiny app, 3 layers
# An image that is there already is kept.
set -eu
mkdir -p "$1"
directory=$(cd "$1" && pwd)
store=$directory/.store
ba() { buildah --root "$store/root" --runroot "$store/run" --storage-driver vfs "$@"; }
publish() { # CONTAINER NAME
    ba commit -q "$1" "localhost/dockerc-test/$2" >/dev/null
    ba push -q --disable-compression=false --compression-format gzip --format oci \
        "localhost/dockerc-test/$2" "oci:$directory/$2:latest" >/dev/null
}
[ -e "$directory/python/index.json" ] && exit 0
trap 'rm -rf "$store"' EXIT

mmdebstrap --quiet --mode=root --variant=minbase --skip=output/dev bookworm "$directory/base.tar"
base=$(ba from scratch)
ba add -q "$base" "$directory/base.tar" / >/dev/null
rm -f "$directory/base.tar"
ba config --cmd /bin/bash \
    --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$base"
publish "$base" debian

packages=$(ba from --pull-never localhost/dockerc-test/debian)
ba run --isolation chroot --network host "$packages" -- sh -c '
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends python3 python3-numpy >/dev/null
    apt-get clean
    rm -rf /var/lib/apt/lists/* /var/log/*.log /var/log/apt'
ba commit -q "$packages" localhost/dockerc-test/packages >/dev/null

app=$(ba from --pull-never localhost/dockerc-test/packages)
printf 'import numpy\nprint(numpy.arange(3).sum())\n' >"$directory/app.py"
ba copy -q "$app" "$directory/app.py" /app/app.py >/dev/null
rm -f "$directory/app.py"
ba config --workingdir /app --cmd '["python3","/app/app.py"]' "$app"
publish "$app" python
