#!/bin/sh
# Says what is missing before anything is built: check_toolchain.sh PYTHON [rust|rustfmt|clippy]...
# PYTHON is the interpreter that was found, or the empty string.
set -u
python=$1
shift
failed=0

missing() {
    failed=1
    printf 'MISSING: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '         %s\n' "$line" >&2; done
}

check_python() {
    if [ -z "$python" ]; then
        present=$(python3 --version 2>&1) || present="no python3 on the PATH"
        missing "CPython 3.11 or newer (found: $present)" \
            "Install one, for example the packages python3 and python3-venv, or name one: make PYTHON=/path/to/python3.12 ..."
        return
    fi
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        missing "CPython 3.11 or newer (PYTHON=$python is $("$python" --version 2>&1 || true))"
    elif ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
        missing "the modules venv and ensurepip of $python" "On Debian and Ubuntu: the package python3-venv."
    fi
}

# at_least 1.85 "rustc 1.95.0 (...)"
at_least() {
    printf '%s\n' "$2" | awk -v wanted="$1" '{
        split($2, have, "."); split(wanted, want, ".")
        exit !(have[1] > want[1] || (have[1] == want[1] && have[2] + 0 >= want[2]))
    }'
}

check_rust() {
    for tool in cargo rustc; do
        if ! version=$("$tool" --version 2>/dev/null); then
            missing "$tool (Rust 1.85 or newer)" "Install Rust with rustup, or the packages of your distribution, and put it on the PATH."
        elif ! at_least 1.85 "$version"; then
            missing "$tool 1.85 or newer (found: $version)" "For example: rustup update stable"
        fi
    done
    command -v cc >/dev/null 2>&1 || missing "a C compiler named cc, with which Rust links" "For example the package gcc."
}

check_component() {
    cargo "$2" --version >/dev/null 2>&1 || missing "cargo $2" "For example: rustup component add $1"
}

check_python
for what in "$@"; do
    case $what in
        rust) check_rust ;;
        rustfmt) check_component rustfmt fmt ;;
        clippy) check_component clippy clippy ;;
        *) missing "a check for $what" ;;
    esac
done
exit $failed
