# Sourced by the scripts beside it: makes .venv with mapfs in it, at once if nothing changed.
#   setup EXTRA DEBIAN_PACKAGE...   EXTRA is empty or the name of an extra of pyproject.toml
#   setup_tests                     what the whole suite needs

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv

find_python() {
    local name
    for name in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    echo "mapfs needs Python 3.11 or newer; install it, or name it: PYTHON=/path/to/python3 $0" >&2
    return 1
}

# The Debian packages of what is missing: a package is asked for only if what it brings is not there.
missing_packages() {
    local python=$1
    shift
    command -v fusermount3 >/dev/null || echo fuse3
    command -v pkg-config >/dev/null || echo pkg-config
    pkg-config --exists fuse3 2>/dev/null || echo libfuse3-dev
    command -v cc >/dev/null || echo gcc libc6-dev
    "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    "$python" -c 'import os, sysconfig, sys
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || echo python3-dev
    local package
    for package in "$@"; do
        dpkg -s "$package" >/dev/null 2>&1 || echo "$package"
    done
}

install_packages() {
    local packages
    packages=$(missing_packages "$@" | tr '\n' ' ')
    [ -z "${packages// /}" ] && return
    if [ "$(id -u)" -ne 0 ]; then
        echo "mapfs needs what is missing here; run: sudo apt-get install -y $packages" >&2
        return 1
    fi
    echo "installing $packages" >&2
    local said
    # shellcheck disable=SC2086 # a list of words
    if ! said=$({ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y $packages; } 2>&1); then
        echo "$said" >&2
        echo "the Debian packages above cannot be installed; install them and run this again" >&2
        return 1
    fi
}

setup() {
    local extra=$1 python stamp
    shift
    stamp="$extra $* $(cksum <"$root/pyproject.toml") $root"
    if [ -x "$venv/bin/mapfs" ] && grep -qxF -- "$stamp" "$venv/.mapfs-stamps" 2>/dev/null; then
        return
    fi
    python=$(find_python)
    install_packages "$python" "$@"
    [ -x "$venv/bin/python" ] && "$venv/bin/python" -c '' 2>/dev/null || "$python" -m venv --clear "$venv"
    echo "installing mapfs into $venv" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e "$root${extra:+[$extra]}" >&2
    echo "$stamp" >>"$venv/.mapfs-stamps"
}

setup_tests() {
    setup test binutils sqlite3 runc fio git e2fsprogs libfaketime ripgrep rsync stress-ng openssl mount util-linux man-db mandoc systemd \
        zsh fish tmux chromium
    mount_tracefs
}

# Where the kernel has the tracepoints that the evidence of the page cache is compared with; most systems mount it.
mount_tracefs() {
    if [ "$(id -u)" = 0 ] && [ -d /sys/kernel/tracing ] && ! [ -e /sys/kernel/tracing/events ]; then
        mount -t tracefs nodev /sys/kernel/tracing || echo "without tracefs, and what needs it fails" >&2
    fi
}
