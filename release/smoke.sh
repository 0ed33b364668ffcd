#!/bin/bash
# The tool's own executable does for its caller what the installed one does: smoke.sh DOCKERC
set -euo pipefail
tool=$(realpath "$1")
fixtures=$(realpath "$(dirname "$0")/../fixtures")
[ -x "$tool" ] || chmod +x "$tool"
place=$(mktemp -d /var/tmp/dockerc-smoke-XXXXXX)
trap 'rm -rf "$place"' EXIT
cd "$place"
mkdir home
export HOME=$place/home XDG_CACHE_HOME=$place/home/cache
cp -r "$fixtures/hello" layout
chmod -R u+w layout

"$tool" build oci:layout -o app           # relative names, in the caller's directory
./app | grep "Hello from dockerc"
"$tool" build "oci:$place/layout" -o "$place/same" 2>/dev/null
./same | grep "Hello from dockerc"
[ "$(stat -c %u app)" = "$(id -u)" ]
"$tool" inspect app | grep -q "oci:layout"
"$tool" run oci:layout args "a b" | grep -q "a b"
status=0
"$tool" run oci:layout exit 7 || status=$?
[ $status = 7 ]
# The caller's environment: the place of its cache, a setting, a home or none.
[ -d home/cache/dockerc ]
DOCKERC_BLOCK_SIZE=16K "$tool" build -q oci:layout -o same
"$tool" inspect --format '{{.Squashfs.BlockSize}}' same | grep -x 16384
env -u HOME "$tool" build -q oci:layout -o same
status=0
"$tool" build oci:none -o none 2>message || status=$?
[ $status = 1 ] && grep -q "^dockerc: " message && [ ! -e none ]
[ "$(ls)" = "$(printf 'app\nhome\nlayout\nmessage\nsame')" ]
echo "smoke test passed"
