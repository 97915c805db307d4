#!/bin/sh
# Brings a checkout to life on a stock Debian 12 (git, make, Python 3.11; no venv, pip externally managed).
#   bootstrap.sh env               uv, then the environment of uv.lock in .venv
#   bootstrap.sh bench             the same with the peers of benchmarks that come from PyPI
#   bootstrap.sh apt NAME...       system packages whose program is not there yet
#   bootstrap.sh peers             foreign Sparkplug peers for tests, each in an environment of its own in .tools
# Root is asked for only when a system package is truly missing.
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/.tools

say() { printf 'bootstrap: %s\n' "$*" >&2; }
die() { say "$*"; exit 2; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        say "sudo for: $*"
        sudo "$@"
    else
        die "please run as root: $*"
    fi
}

apt_install() {
    command -v apt-get >/dev/null 2>&1 || die "no apt-get here: please install $* yourself"
    say "installing $*"
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    as_root apt-get install -y -q --no-install-recommends "$@" >&2 && return
    as_root apt-get update -q >&2
    as_root apt-get install -y -q --no-install-recommends "$@" >&2
}

# The programs live in /usr/sbin too, which is not on everybody's PATH.
have() { PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v "$1" >/dev/null 2>&1; }

works() { "$@" >/dev/null 2>&1; }

# pip --target touches nothing outside the checkout, which is why an externally managed pip allows it.
uv_by_pip() { works python3 -m pip --version && python3 -m pip install -q --upgrade --target "$tools/uv" uv >&2; }

# A venv needs the ensurepip that Debian splits off into python3-venv.
uv_by_venv() {
    works python3 -m venv --clear "$tools/venv" || return 1
    "$tools/venv/bin/pip" install -q uv >&2 && mkdir -p "$tools/uv/bin" && ln -sf "$tools/venv/bin/uv" "$tools/uv/bin/uv"
}

# Prints the path of a uv that runs.
find_uv() {
    if works uv --version; then command -v uv; return; fi
    uv=$tools/uv/bin/uv
    if ! works "$uv" --version; then
        have python3 || apt_install python3 python3-pip
        say "no uv on PATH: fetching it into .tools"
        uv_by_pip || uv_by_venv || { apt_install python3-pip && uv_by_pip; } || die "could not get uv; see above"
    fi
    works "$uv" --version || die "uv was fetched but does not run on this machine"
    echo "$uv"
}

case "${1:-}" in
env)
    uv=$(find_uv)
    "$uv" sync --frozen --all-extras
    ;;
bench)
    uv=$(find_uv)
    "$uv" sync --frozen --quiet --all-extras --group bench
    ;;
apt)
    shift
    missing=
    for name in "$@"; do
        program=$name
        [ "$name" != influxdb ] || program=influxd
        have "$program" || missing="$missing $name"
    done
    # shellcheck disable=SC2086 # a list of names
    [ -z "$missing" ] || apt_install $missing
    ;;
peers)
    { have node && have npm; } || apt_install nodejs npm
    uv=$(find_uv)
    python=$tools/interop/python
    "$uv" venv -q --clear --python 3.11 "$python"
    "$uv" pip install -q --python "$python/bin/python" -r tests/interop/requirements.txt
    mkdir -p "$tools/interop/npm"
    cp tests/interop/package.json "$tools/interop/npm/"
    npm install --prefix "$tools/interop/npm" --ignore-scripts --no-audit --no-fund --no-package-lock --loglevel=error >&2
    ;;
*)
    die "usage: bootstrap.sh env | bench | apt NAME... | peers"
    ;;
esac
