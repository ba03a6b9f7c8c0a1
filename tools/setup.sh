#!/bin/bash
# Prepare .venv and the programs that a make target needs; do nothing if everything is present.
#   tools/setup.sh demo    the program alone
#   tools/setup.sh lint    and the tools of the "dev" group in pyproject.toml
#   tools/setup.sh test    and the Debian packages marked "test" in tools/debian-packages.txt;
#                          those marked "netem" where the kernel has none
#   tools/setup.sh bench   the same, marked "bench"
#   tools/setup.sh dist    build/venv, with the tools of the "dist" group, and the packages marked "dist"
# PYTHON=python3.12 chooses an interpreter; otherwise this takes the first one that is new enough.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin # nginx and ip live there, and Debian leaves it out of a user's path

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    die "Python 3.11 or newer is needed, and ${PYTHON:-python3} is not (apt-get install python3)"
}

install_packages() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        die "missing: $*. Install it as root: apt-get install $*"
    fi
    say "installing $*"
    keep_services_down
    export DEBIAN_FRONTEND=noninteractive
    update_lists && apt-get -qq install --no-install-recommends "$@" >/dev/null ||
        die "apt-get could not install: $*"
}

update_lists() {
    [ "${lists_are_new-}" ] || apt-get -qq update && lists_are_new=yes
}

# Debian starts the services it installs; the tests need only their programs, not an nginx on port 80.
keep_services_down() {
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        trap "rm -f $policy" EXIT
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
    fi
}

install_programs() { # $1: the target they are marked with
    local package program needed_by missing=()
    while read -r package program needed_by; do
        if [[ " $needed_by " == *" $1 "* ]] && ! command -v "$program" >/dev/null; then
            missing+=("$package")
        fi
    done < <(grep -v '^#' tools/debian-packages.txt)
    [ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
}

# The tests of a bad network want netem. A kernel that was built without it can run another one as a program.
bring_netem() {
    if [ "$(id -u)" = 0 ] && ! unshare --net tc qdisc add dev lo root netem loss 1% 2>/dev/null; then
        (install_programs netem) || say "no netem: those tests will be skipped"
    fi
}

bring_venv() {
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        install_packages "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
}

bring_programs() { # $1: "test" or "bench"
    install_programs "$1"
    [ "$1" = bench ] || bring_netem
}

# The inputs of an environment. An environment holds absolute paths, so it does not survive a move of the directory.
fingerprint() { # $1: "program", "dev" or "dist"
    echo "$1 $PWD $("$python" -V) $(cat pyproject.toml constraints.txt | sha256sum)"
}

prepare_environment() { # $1: "program", "dev" or "dist"; $2: its directory
    local stamp=$2/.made-from
    if [ -e "$stamp" ] && "$2/bin/python" -c '' 2>/dev/null && grep -qxF "$(fingerprint "$1")" "$stamp"; then
        return
    fi
    bring_venv
    say "making $2 with $("$python" -V) (once; about a minute)"
    "$python" -m venv --clear "$2"
    "$2/bin/python" -m pip install --quiet --upgrade 'pip>=25.1' # the first that knows --group
    local install=("$2/bin/python" -m pip install --quiet --constraint constraints.txt)
    case $1 in
    program) "${install[@]}" --editable . ;;
    dev)
        # Most modules of these tools are never loaded, and the first process that loads another one compiles it.
        "${install[@]}" --no-compile --editable . --group dev
        fingerprint program >>"$stamp"
        ;;
    dist)
        # The published bootloader needs the system's zlib, one made here brings its own.
        PYINSTALLER_COMPILE_BOOTLOADER=1 PYINSTALLER_BOOTLOADER_WAF_ARGS=--static-zlib \
            "${install[@]}" --no-binary pyinstaller --editable '.[proxy]' --group dist
        ;;
    esac
    fingerprint "$1" >>"$stamp"
}

python=$(find_python)
case ${1-} in
demo) prepare_environment program .venv ;;
lint) prepare_environment dev .venv ;;
dist)
    install_programs dist
    prepare_environment dist build/venv
    ;;
test | bench)
    bring_venv # not beside the other packages: apt-get runs once at a time
    bring_programs "$1" &
    prepare_environment dev .venv
    wait $!
    ;;
*) die "usage: tools/setup.sh demo|lint|test|bench|dist" ;;
esac
