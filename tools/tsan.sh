#!/bin/sh
# Runs the stress tests under ThreadSanitizer: tsan.sh [TEST]...
#
# The standard library of a toolchain is not instrumented, and building one needs its sources, which few toolchains
# have. So what the library does to order threads is seen only where it is compiled into the tests; the channel of the
# test harness is not, and is left out. The engine and the pages' contents, which are what it must order, are.
set -u
cd "$(dirname "$0")/.." || exit 1
fail() {
    printf 'tsan: this toolchain cannot: %s\n' "$1" >&2
    exit 1
}

host=$(rustc -vV | sed -n 's/^host: //p')
case $host in
    x86_64-unknown-linux-gnu | aarch64-unknown-linux-gnu) ;;
    *) fail "no ThreadSanitizer for $host" ;;
esac
libraries=$(rustc --print sysroot)/lib/rustlib/$host/lib
ls "$libraries"/librustc-*_rt.tsan.a >/dev/null 2>&1 || fail "no runtime librustc-*_rt.tsan.a in $libraries"

# A stable compiler has the option too, if it may use what is unstable.
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
target=${CARGO_TARGET_DIR:-target}/tsan
mkdir -p "$target" || exit 1
printf '%s\n' 'race:std::sync::mpmc' 'race:test::' >"$target/suppressions"
target=$(cd "$target" && pwd)
export CARGO_TARGET_DIR="$target"
export TSAN_OPTIONS="suppressions=$target/suppressions halt_on_error=1 ${TSAN_OPTIONS:-}"
# With a named target the flags are for it alone, not for build scripts.
cargo test --locked --profile checked --target "$host" -p pagebuddy-core --test stress --no-run ||
    fail "the tests were not built"
exec cargo test --locked --profile checked --target "$host" -p pagebuddy-core --test stress -- --test-threads 1 "$@"
