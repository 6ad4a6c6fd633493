#!/usr/bin/env bash
# The tests of everything that holds `unsafe`, or hands its blocks around, under AddressSanitizer: buffers and views,
# the pool, kernels and their packing, and the runtime's blocks. Needs a nightly toolchain, which brings the sanitizer's
# runtime along.
#
# usage: tools/checks/address_sanitizer.sh [PACKAGE...] [-- ARGUMENTS OF THE TESTS]
#        tools/checks/address_sanitizer.sh                             tensor, pool, kernels, graph, runtime
#        tools/checks/address_sanitizer.sh oxidane-kernels -- gemm     the tests of one crate that have a name
# TOOLCHAIN chooses another nightly. Builds go to a folder of their own beside the others.
set -euo pipefail
cd "$(dirname "$0")/../.."

toolchain=${TOOLCHAIN:-nightly}
if ! cargo "+$toolchain" --version >/dev/null 2>&1; then
    echo "the toolchain $toolchain is not installed: rustup toolchain install nightly" >&2
    exit 1
fi
packages=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    packages+=(-p "$1")
    shift
done
if [ ${#packages[@]} -eq 0 ]; then
    for name in tensor pool kernels graph runtime; do packages+=(-p "oxidane-$name"); done
fi

# Build scripts and macros stay as they are where a target is named.
target=$(rustc "+$toolchain" -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/address-sanitizer
export RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=address"
# The children of the tests of forking end without their parent's clean-up.
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1:detect_stack_use_after_return=1:allocator_may_return_null=1}"
exec cargo "+$toolchain" test --locked --target "$target" --lib --tests "${packages[@]}" "$@"
