"""Do we and ONNX Runtime give the same outputs for the same model and inputs?

usage: python tools/conformance/agree.py --ours PATH/onnx-run [MODEL ...] [--zoo DIR]
                                         [--expected] [--threads N] [--tolerance 1e-4]
needs: pip install numpy onnxruntime

MODEL is a folder with model.onnx and input.npz, or NAME.onnx with NAME.npz beside it. Without any,
all of testdata/models/. --zoo adds every NAME.onnx of a folder (see zoo.py of the benchmarks).
Each model goes through `onnx-run run MODEL --inputs X.npz --outputs Y.npz` and through ONNX Runtime
on the CPU. Printed is, over all outputs, the largest |a - b| divided by the largest |b| of that
output. Names, types and shapes must be equal. Exit code 1 if a model differs by more than the
tolerance or does not run.

--expected  compare with the expected.npz beside the model instead of running ONNX Runtime
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]


def pairs(models, zoo=None):
    """(name, model file, file of inputs) of each model named, or of all bundled ones."""
    models = [pathlib.Path(m) for m in models] or sorted(p.parent for p in ROOT.glob("testdata/models/*/model.onnx"))
    found = [(m.name, m / "model.onnx", m / "input.npz") if m.is_dir() else (m.stem, m, m.with_suffix(".npz"))
             for m in models]
    if zoo:
        found += [(m.stem, m, m.with_suffix(".npz")) for m in sorted(pathlib.Path(zoo).glob("*.onnx"))]
    return found


def difference(ours, theirs):
    """(largest relative difference, '') or (infinity, what is wrong)."""
    worst = 0.0
    if sorted(ours) != sorted(theirs):
        return float("inf"), f"outputs {sorted(ours)}, expected {sorted(theirs)}"
    for name, b in theirs.items():
        a = ours[name]
        if a.dtype != b.dtype or a.shape != b.shape:
            return float("inf"), f"{name} is {a.dtype}{list(a.shape)}, expected {b.dtype}{list(b.shape)}"
        if b.dtype.kind in "OSU" or not b.size:
            worst = max(worst, 0.0 if (a == b).all() else float("inf"))
            continue
        kind = complex if b.dtype.kind == "c" else float
        a, b = a.astype(kind), b.astype(kind)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):
            apart = np.where(same, 0, np.abs(a - b))
        finite = np.abs(b[np.isfinite(b)])
        ratio = float(apart.max() / ((finite.max() if finite.size else 0) + 1e-30))
        worst = max(worst, float("inf") if np.isnan(ratio) else ratio)
    return worst, ""


def reference(model, inputs, threads):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    known = {i.name for i in session.get_inputs()}
    outputs = session.run(None, {k: v for k, v in inputs.items() if k in known})
    return {o.name: np.asarray(v) for o, v in zip(session.get_outputs(), outputs)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--ours", required=True)
    parser.add_argument("--zoo")
    parser.add_argument("--expected", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--timeout", type=float, default=600, help="seconds a model")
    args = parser.parse_args()
    todo, failed = pairs(args.models, args.zoo), []
    width = max([len(name) for name, _, _ in todo], default=5)
    print(f"{'model':{width}} {'difference':>10} {'seconds':>8}")
    for name, model, inputs in todo:
        start, worst, error = time.monotonic(), float("inf"), ""
        with tempfile.TemporaryDirectory() as scratch:
            out = pathlib.Path(scratch) / "ours.npz"
            command = [args.ours, "run", str(model), "--inputs", str(inputs), "--outputs", str(out),
                       "--threads", str(args.threads)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=args.timeout)
                seconds = time.monotonic() - start
                if done.returncode:
                    error = " ".join((done.stderr or done.stdout).split())[:400] or f"exit code {done.returncode}"
                else:
                    theirs = (dict(np.load(inputs.with_name("expected.npz"))) if args.expected
                              else reference(model, dict(np.load(inputs)), args.threads))
                    worst, error = difference(dict(np.load(out)), theirs)
            except Exception as problem:  # every model must get its row
                seconds, error = time.monotonic() - start, f"{type(problem).__name__}: {problem}"
        print(f"{name:{width}} {worst:10.1e} {seconds:8.2f}" + (f"  {error}" if error else ""), flush=True)
        if error or not worst <= args.tolerance:
            failed.append(name)
    print(f"{len(todo) - len(failed)} of {len(todo)} within {args.tolerance:g}"
          + (f"; not: {', '.join(failed)}" if failed else ""))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
