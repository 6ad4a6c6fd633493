"""Does a model survive the conversion to 16-bit floats?

usage: python tools/convert/halves.py MODEL.onnx ... --convert PATH/onnx-convert [--to fp16]
needs: pip install numpy onnx onnxruntime; NAME.npz beside NAME.onnx holds the inputs.

For each model: onnx.checker accepts the result, ONNX Runtime loads it, how far its outputs are from those of the
original on the same inputs (relative to the largest), and its size relative to the original. Exit code 1 where one of
them fails or is off by more than 1e-2, or where a model with floats only has more than 51 % of the bytes.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime


def run(path, feeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def off(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        return float("inf")
    return float(np.max(np.abs(a - b)) / max(np.max(np.abs(a)), 1e-30)) if a.size else 0.0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--convert", required=True)
    parser.add_argument("--to", default="fp16")
    args = parser.parse_args()
    bad = 0
    print(f"{'model':24} {'off':>8} {'bytes':>7}  converted, kept, casts")
    for path in args.models:
        inputs = path.with_suffix(".npz")
        inputs = inputs if inputs.exists() else path.parent / "input.npz"
        feeds = dict(np.load(inputs))
        name = path.stem if path.stem != "model" else path.parent.name
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "half.onnx"
            done = subprocess.run([args.convert, args.to, path, out], capture_output=True, text=True)
            if done.returncode:
                print(f"{name:24} refused: {done.stderr.strip()}\n{done.stdout}")
                bad += 1
                continue
            try:
                onnx.checker.check_model(str(out), full_check=True)
                worst = max(off(a, b) for a, b in zip(run(path, feeds), run(out, feeds)))
            except Exception as error:
                print(f"{name:24} {type(error).__name__}: {str(error)[:300]}")
                bad += 1
                continue
            share = out.stat().st_size / path.stat().st_size
            floats = all(t.data_type == onnx.TensorProto.FLOAT for t in onnx.load(path).graph.initializer
                         if len(t.raw_data) > 4096)
            fine = worst <= 1e-2 and (share <= 0.51 or not floats)
            bad += not fine
            print(f"{name:24} {worst:8.1e} {share:7.1%}  {done.stdout.splitlines()[0]}" + ("" if fine else "  <--"),
                  flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
