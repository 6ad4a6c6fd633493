#!/usr/bin/env bash
# One model from file to outputs under valgrind's memcheck: reads of what was never written, accesses beyond blocks,
# frees that do not fit. Valgrind knows no AVX-512, and tells programs so: kernels run in their forms for AVX2.
#
# usage: tools/checks/memcheck.sh [MODEL INPUTS.npz] [-- ARGUMENTS OF onnx-run]
#        tools/checks/memcheck.sh                                      the bundled silero-vad
#        tools/checks/memcheck.sh resnet50.onnx resnet50.npz -- --threads 2
# ONNX_RUN names an onnx-run that is built already.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v valgrind >/dev/null; then
    echo "valgrind is not installed: apt-get install valgrind" >&2
    exit 1
fi
model=testdata/models/silero-vad/model.onnx
inputs=testdata/models/silero-vad/input.npz
if [ $# -gt 0 ] && [ "$1" != -- ]; then
    [ $# -ge 2 ] && [ "$2" != -- ] || { sed -n '5,8s/^# //p' "$0" >&2; exit 2; }
    model=$1 inputs=$2
    shift 2
fi
[ "${1:-}" = -- ] && shift

if [ -z "${ONNX_RUN:-}" ]; then
    cargo build --release --locked -p oxidane-run
    ONNX_RUN=${CARGO_TARGET_DIR:-target}/release/onnx-run
fi
outputs=$(mktemp --suffix=.npz)
trap 'rm -f "$outputs"' EXIT
# No `exec`: the file is to go.
valgrind --tool=memcheck --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite --num-callers=30 \
    "$ONNX_RUN" run "$model" --inputs "$inputs" --outputs "$outputs" "$@"
