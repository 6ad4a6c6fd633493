"""Do converted models compute the same in ONNX Runtime?

usage: python tools/conformance/opsets.py CASES_DIR --convert PATH/onnx-convert [--count 300] [--seed 0] [--jobs 2]
needs: pip install numpy onnx onnxruntime; CASES_DIR as for round_trip.py.

Draws official cases and opsets from 7 to 28 at random, converts each with `onnx-convert opset`, and runs original and result
in ONNX Runtime on the case's inputs, until --count pairs ran. Outputs must be equal within 1e-5 of the largest
element, or meet the case's own outputs better than the original does. Pairs that ONNX Runtime does not run on one side (it has no kernel, or does not know the opset) and
conversions that the opset cannot express are counted and passed over. Exit code 1 if one differs or onnx.checker
refuses it.
"""
import argparse
import collections
import concurrent.futures
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper

RANDOM = ("Random", "Bernoulli", "Multinomial", "Dropout")


def read(path, proto):
    for kind in (onnx.TensorProto, onnx.SequenceProto, onnx.OptionalProto):
        try:
            if proto.type.WhichOneof("value") == "tensor_type" and kind is onnx.TensorProto:
                return numpy_helper.to_array(onnx.load_tensor(str(path)))
            if proto.type.WhichOneof("value") == "sequence_type" and kind is onnx.SequenceProto:
                message = onnx.SequenceProto()
                message.ParseFromString(path.read_bytes())
                return numpy_helper.to_list(message)
        except Exception:
            continue
    return None


def session(path):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def same(a, b):
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if a is None or b is None:
        return a is b
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind not in "fc":
        return bool(np.array_equal(a, b))
    x, y = a.astype(np.complex128 if a.dtype.kind == "c" else np.float64), b.astype(
        np.complex128 if b.dtype.kind == "c" else np.float64)
    if not np.array_equal(np.isnan(x), np.isnan(y)):
        return False
    finite = np.isfinite(x) & np.isfinite(y)
    if not np.array_equal(x[~finite & ~np.isnan(x)], y[~finite & ~np.isnan(y)]):
        return False
    most = np.max(np.abs(x[finite]), initial=1e-30)
    # Narrow floats have no more digits than these.
    limit = {2: 2e-3}.get(a.dtype.itemsize, 1e-5)
    return bool(np.max(np.abs(x[finite] - y[finite]), initial=0) <= limit * most)


def one(job):
    case, opset, convert = job
    model = onnx.load(str(case / "model.onnx"))
    if any(node.op_type.startswith(RANDOM) for node in model.graph.node):
        return "random", ""
    own = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if own == opset:
        return "same opset", ""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.onnx"
        done = subprocess.run([convert, "opset", case / "model.onnx", out, "--to", str(opset), "--no-verify"],
                              capture_output=True, text=True)
        if done.returncode:
            return "not expressible", done.stderr
        initializers = {t.name for t in model.graph.initializer}
        inputs = [i for i in model.graph.input]
        files = sorted((case / "test_data_set_0").glob("input_*.pb"), key=lambda p: int(p.stem.split("_")[1]))
        if len(files) < len(inputs):
            inputs = [i for i in inputs if i.name not in initializers]
        feeds = {}
        for proto, path in zip(inputs, files):
            value = read(path, proto)
            if value is None:
                return "inputs of other kinds", ""
            feeds[proto.name] = value
        try:
            before = session(case / "model.onnx").run(None, feeds)
        except Exception as error:
            return "original not run", str(error)
        try:
            onnx.checker.check_model(str(out))
        except Exception as error:
            return "REFUSED", str(error)
        try:
            after = session(out).run(None, feeds)
        except Exception as error:
            text = str(error)
            known = ("NOT_IMPLEMENTED", "Could not find an implementation", "is till opset", "Unsupported model IR",
                     "ONNX Runtime only *guarantees*", "under development")
            return ("result not run" if any(k in text for k in known) else "FAILS"), text
        if same(before, after):
            return "equal", ""
        files = sorted((case / "test_data_set_0").glob("output_*.pb"), key=lambda p: int(p.stem.split("_")[1]))
        wanted = [read(path, proto) for path, proto in zip(files, model.graph.output)]
        return ("as the case says", "") if same(wanted, after) else ("DIFFERS", "")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", type=pathlib.Path)
    parser.add_argument("--convert", required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()
    cases = sorted(p.parent for p in args.cases.glob("*/*/model.onnx"))
    pairs = [(case, opset, args.convert) for case in cases for opset in range(7, 29)]
    random.Random(args.seed).shuffle(pairs)
    counts = collections.Counter()
    bad = []
    with concurrent.futures.ProcessPoolExecutor(args.jobs) as pool:
        at = 0
        while counts["equal"] + counts["as the case says"] + len(bad) < args.count and at < len(pairs):
            batch = pairs[at:at + 100]
            at += 100
            for (case, opset, _), (what, why) in zip(batch, pool.map(one, batch)):
                counts[what] += 1
                if what.isupper():
                    bad.append((case.name, opset, what, why))
    for what, n in counts.most_common():
        print(f"{n:6} {what}")
    for name, opset, what, why in bad:
        print(f"{what}: {name} to opset {opset}: {why.strip()[:300]}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
