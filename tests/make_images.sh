#!/bin/sh
# The real images that tests and benchmarks use, as OCI layouts with gzip layers (root, Debian):
#   make_images.sh DIR [NAME...]  ->  DIR/NAME:latest, debian and python when no name is given
#     tiny    static busybox, 1 layer
#     debian  bookworm minbase, by mmdebstrap, 1 layer
#     python  + python3 and numpy by apt, + a tiny app, 3 layers
#     node    + nodejs by apt, + a tiny app, 3 layers
#   make_images.sh DIR services  ->  DIR/services.tar, bookworm with servers, a compiler and the like;
#     not by buildah and as a docker-archive, for copying its 1.7 GB takes longer than making them
# An image that is there already is kept.
set -eu
mkdir -p "$1"
directory=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- debian python
store=$directory/.store
ba() { buildah --root "$store/root" --runroot "$store/run" --storage-driver vfs "$@"; }
publish() { # CONTAINER NAME
    ba commit -q "$1" "localhost/dockerc-test/$2" >/dev/null
    ba push -q --disable-compression=false --compression-format gzip --format oci \
        "localhost/dockerc-test/$2" "oci:$directory/$2:latest" >/dev/null
}
wanted() { # NAME: in the list, and not there yet
    case " $names " in
    *" $1 "*) [ ! -e "$directory/$1/index.json" ] && [ ! -e "$directory/$1.tar" ] ;;
    *) false ;;
    esac
}
app_image() { # NAME FILE CMD PACKAGE...
    name=$1 file=$2 cmd=$3
    shift 3
    packages=$(ba from --pull-never localhost/dockerc-test/debian)
    ba run --isolation chroot --network host "$packages" -- sh -c "
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends $* >/dev/null
        apt-get clean
        rm -rf /var/lib/apt/lists/* /var/log/*.log /var/log/apt"
    ba commit -q "$packages" "localhost/dockerc-test/$name-packages" >/dev/null
    app=$(ba from --pull-never "localhost/dockerc-test/$name-packages")
    ba copy -q "$app" "$scratch/$file" "/app/$file" >/dev/null
    ba config --workingdir /app --cmd "$cmd" "$app"
    publish "$app" "$name"
}
names=$*
scratch=$(mktemp -d)
trap 'rm -rf "$store" "$scratch"' EXIT

if wanted tiny; then
    mkdir -p "$scratch/tiny/bin" "$scratch/tiny/etc"
    cp "$(command -v busybox)" "$scratch/tiny/bin/busybox"
    for link in true sh; do ln -s busybox "$scratch/tiny/bin/$link"; done
    echo 'root:x:0:0:root:/:/bin/sh' >"$scratch/tiny/etc/passwd"
    tiny=$(ba from scratch)
    ba copy -q "$tiny" "$scratch/tiny" / >/dev/null
    ba config --cmd /bin/true --env PATH=/bin "$tiny"
    publish "$tiny" tiny
fi
if wanted debian || wanted python || wanted node; then
    mmdebstrap --quiet --mode=root --variant=minbase --skip=output/dev bookworm "$scratch/base.tar"
    base=$(ba from scratch)
    ba add -q "$base" "$scratch/base.tar" / >/dev/null
    mkdir -p "$(ba mount "$base")/dev" # left out with all that is in it
    ba umount "$base" >/dev/null
    ba config --cmd /bin/bash \
        --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$base"
    ba commit -q "$base" localhost/dockerc-test/debian >/dev/null
    ! wanted debian || publish "$base" debian
fi
printf 'import numpy\nprint(numpy.arange(3).sum())\n' >"$scratch/app.py"
echo 'console.log(1 + 1)' >"$scratch/app.js"
! wanted python || app_image python app.py '["python3","/app/app.py"]' python3 python3-numpy
! wanted node || app_image node app.js '["node","/app/app.js"]' nodejs

if wanted services; then
    mkdir "$scratch/services"
    mmdebstrap --quiet --mode=root --variant=minbase --skip=output/dev \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --include=postgresql,nginx-light,redis-server,gcc,libc6-dev,git,nodejs \
        --include=mariadb-server,openjdk-17-jdk-headless,chromium,node-typescript \
        bookworm "$scratch/services/layer.tar"
    cd "$scratch/services"
    printf '{"os":"linux","architecture":"%s","config":{"Env":["%s"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$(dpkg --print-architecture)" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        "$(sha256sum layer.tar | cut -d' ' -f1)" >config.json
    echo '[{"Config":"config.json","RepoTags":["services:latest"],"Layers":["layer.tar"]}]' >manifest.json
    tar -cf "$directory/services.tar" manifest.json config.json layer.tar
fi
