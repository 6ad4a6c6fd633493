"""How many attention blocks, normalizations and Gelus does level full find?

usage: python tools/convert/fusions.py MODEL.onnx ... --convert PATH/onnx-convert --run PATH/onnx-run
needs: pip install numpy onnx onnxruntime; models of PyTorch's exporters come from exports.py, those of the
       benchmarks from zoo.py. NAME.npz beside NAME.onnx holds the inputs.

For each model: how many there are, counted in the original by what only they contain (a Softmax that is read by a
product; a square root of a sum with an epsilon, or the operator itself; an Erf, or a Tanh of 0.7978 times a cubic), how many
the optimized model has as one operator, and how far its outputs, computed by onnx-run, are from those of ONNX
Runtime on the original, relative to the largest. Exit code 1 where one is not found or outputs are off by more than 1e-4.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

NORMS = ["LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"]


def number(graph, name):
    for tensor in graph.initializer:
        if tensor.name == name and np.prod(tensor.dims) == 1:
            return numpy_helper.to_array(tensor).item()
    for node in graph.node:
        if name in node.output and node.op_type == "Constant":
            value = onnx.helper.get_attribute_value(node.attribute[0])
            array = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.array(value)
            return array.item() if array.size == 1 else None
    return None


def counted(graph):
    made = {o: n for n in graph.node for o in n.output}
    users = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)

    def reaches_product(name, depth=3):
        return any(u.op_type == "MatMul" or depth and u.op_type in ("Where", "Cast", "Dropout", "IsNaN")
                   and reaches_product(u.output[0], depth - 1) for u in users.get(name, []))

    def maker(name):
        return made.get(name)

    attention = sum(n.op_type == "Softmax" and reaches_product(n.output[0]) for n in graph.node)
    norms = sum(n.op_type in NORMS for n in graph.node)
    gelus = sum(n.op_type == "Gelu" for n in graph.node)
    for node in graph.node:
        if node.op_type == "Sqrt":
            added = maker(node.input[0])
            if added is not None and added.op_type == "Add":
                means = [maker(i) for i in added.input]
                norms += any(m is not None and m.op_type == "ReduceMean" for m in means)
        if node.op_type == "Erf":
            gelus += 1
        if node.op_type == "Tanh":
            scaled = maker(node.input[0])
            factors = [number(graph, i) for i in scaled.input] if scaled is not None and scaled.op_type == "Mul" else []
            gelus += any(f is not None and abs(f - 0.7978845) < 1e-4 for f in factors)
    return attention, norms, gelus


def after(graph):
    count = lambda *names: sum(n.op_type in names for n in graph.node)
    return count("Attention"), count(*NORMS), count("Gelu")




def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--convert", required=True)
    parser.add_argument("--run", required=True)
    args = parser.parse_args()
    bad = 0
    print(f"{'model':34} {'attention':>10} {'norms':>8} {'gelu':>8} {'nodes':>14}  off")
    for path in args.models:
        before = onnx.load(path)
        wanted = counted(before.graph)
        feeds = dict(np.load(path.with_suffix(".npz")))
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            done = subprocess.run([args.convert, "optimize", path, folder / "full.onnx", "--level", "full",
                                   "--no-verify"], capture_output=True, text=True)
            if done.returncode:
                print(f"{path.stem:34} {done.stderr.strip()}")
                bad += 1
                continue
            full = onnx.load(folder / "full.onnx")
            got = after(full.graph)
            subprocess.run([args.run, "run", folder / "full.onnx", "--inputs", path.with_suffix(".npz"),
                            "--outputs", folder / "out.npz"], check=True, capture_output=True)
            ours = np.load(folder / "out.npz")
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            theirs = session.run(None, feeds)
            names = [o.name for o in session.get_outputs()]
            off = max(float(np.max(np.abs(ours[n].astype(np.float64) - t)) / max(np.max(np.abs(t)), 1e-30))
                      for n, t in zip(names, theirs))
        fine = got == wanted and off <= 1e-4
        bad += not fine
        cells = [f"{g}/{w}" for g, w in zip(got, wanted)]
        nodes = f"{len(before.graph.node)} -> {len(full.graph.node)}"
        print(f"{path.stem:34} {cells[0]:>10} {cells[1]:>8} {cells[2]:>8} {nodes:>14}  {off:.1e}"
              + ("" if fine else "  <--"), flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
