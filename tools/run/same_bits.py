"""Does a model give the same bits on any number of threads, in another process, and again?

usage: python tools/run/same_bits.py MODEL.onnx ... --ours PATH/onnx-run [--threads 1,2,3,4,8]
needs: pip install numpy; NAME.npz beside NAME.onnx holds the inputs.

Each run is a process of its own, the last one on as many threads as the first. Exit code 1 where a byte differs.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np


def outputs(ours, model, threads, to):
    inputs = model.with_suffix(".npz")
    subprocess.run([ours, "run", model, "--inputs", inputs, "--outputs", to, "--threads", str(threads)], check=True)
    with np.load(to) as arrays:
        return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in arrays.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--ours", required=True)
    parser.add_argument("--threads", default="1,2,3,4,8")
    args = parser.parse_args()
    counts = [int(count) for count in args.threads.split(",")]
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        to = pathlib.Path(folder) / "outputs.npz"
        for model in args.models:
            first = outputs(args.ours, model, counts[0], to)
            others = [count for count in counts[1:] + counts[:1] if outputs(args.ours, model, count, to) != first]
            bad += bool(others)
            print(f"{model.stem:24} {'differs on ' + str(others) if others else 'the same bits'}", flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
