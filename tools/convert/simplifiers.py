"""Holds `onnx-convert optimize --level basic` against onnxsim and onnxslim.

    python tools/convert/simplifiers.py MODEL.onnx ... [--convert target/release/onnx-convert]

For every model a row: nodes before, after onnxsim, after onnxslim, after ours (bodies included); the largest
difference of ours in ONNX Runtime relative to the largest element of an output; whether symbolic sizes stayed;
the size of the file relative to the original; whether ONNX Runtime loads ours without a warning. Ends with 1 where a
row breaks one of: nodes at most those of both, difference at most 1e-5, sizes kept, file at most 1 % larger, no
warning. Needs onnx, onnxruntime, onnxsim, onnxslim.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx

PARTNER = """
import sys, onnx
tool, source, target = sys.argv[1:]
model = onnx.load(source)
if tool == "onnxsim":
    import onnxsim
    model, _ = onnxsim.simplify(model)
else:
    import onnxslim
    model = onnxslim.slim(model)
onnx.save(model, target)
"""

LOAD = """
import sys, numpy as np, onnxruntime as ort
ort.set_default_logger_severity(2)
session = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
if len(sys.argv) > 2:
    given = dict(np.load(sys.argv[2]))
    names = [o.name for o in session.get_outputs()]
    np.savez(sys.argv[3], **{str(i): v for i, v in enumerate(session.run(names, given))})
"""


def count(graph):
    total = 0
    for node in graph.node:
        total += 1
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                total += count(attribute.g)
            for body in attribute.graphs:
                total += count(body)
    return total


def symbols(model):
    """The symbolic sizes of inputs and outputs, by place."""
    found = []
    for port in list(model.graph.input) + list(model.graph.output):
        dims = port.type.tensor_type.shape.dim
        found.append((port.name, [d.dim_param if not d.HasField("dim_value") else d.dim_value for d in dims]))
    return found


def inputs(model, path):
    """Inputs for the model: those beside it, or made."""
    beside = path.parent / "input.npz"
    if beside.exists():
        return dict(np.load(beside))
    weights = {i.name for i in model.graph.initializer}
    random = np.random.default_rng(1)
    given = {}
    for port in model.graph.input:
        if port.name in weights:
            continue
        tensor = port.type.tensor_type
        shape = [d.dim_value if d.HasField("dim_value") else 2 for d in tensor.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if np.issubdtype(dtype, np.floating):
            given[port.name] = random.uniform(-1, 1, shape).astype(dtype)
        else:
            given[port.name] = random.integers(0, 2, shape).astype(dtype)
    return given


def python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)], capture_output=True, text=True
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--convert", default="target/release/onnx-convert")
    args = parser.parse_args()
    print(f"{'model':28} {'nodes':>6} {'onnxsim':>8} {'onnxslim':>8} {'ours':>6} {'off':>8} sizes {'file':>7} warnings")
    failed = 0
    for path in args.models:
        name = path.stem if path.stem != "model" else path.parent.name
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            original = onnx.load(path)
            counts = {}
            for tool in ("onnxsim", "onnxslim"):
                target = folder / f"{tool}.onnx"
                done = python(PARTNER, tool, path, target)
                counts[tool] = count(onnx.load(target, load_external_data=False).graph) if target.exists() else None
            target = folder / "ours.onnx"
            done = subprocess.run(
                [args.convert, "optimize", path, target, "--level", "basic"], capture_output=True, text=True
            )
            if done.returncode:
                print(f"{name:28} {done.stderr.strip()}")
                failed += 1
                continue
            ours = onnx.load(target)
            given = folder / "in.npz"
            np.savez(given, **inputs(original, path))
            before = python(LOAD, path, given, folder / "before.npz")
            after = python(LOAD, target, given, folder / "after.npz")
            off = float("nan")
            if (folder / "before.npz").exists() and (folder / "after.npz").exists():
                a, b = np.load(folder / "before.npz"), np.load(folder / "after.npz")
                off = 0.0
                for key in a.files:
                    x, y = a[key].astype(np.float64), b[key].astype(np.float64)
                    if x.size:
                        off = max(off, float(np.abs(x - y).max() / max(np.abs(x).max(), 1e-30)))
            kept = symbols(original) == symbols(ours)
            size = target.stat().st_size / path.stat().st_size
            warning = after.stderr.strip().splitlines()
            mine = count(ours.graph)
            bad = (
                any(n is not None and mine > n for n in counts.values())
                or not off <= 1e-5
                or not kept
                or size > 1.01
                or bool(warning)
            )
            failed += bad
            shown = [str(n) if n is not None else "fails" for n in counts.values()]
            print(
                f"{name:28} {count(original.graph):6} {shown[0]:>8} {shown[1]:>8} {mine:6} {off:8.1e} "
                f"{'kept' if kept else 'LOST':5} {size:6.1%} {warning[0][:80] if warning else 'none'}"
                f"{'  <-' if bad else ''}",
                flush=True,
            )
            if before.returncode:
                print("   original:", before.stderr.strip().splitlines()[-1][:150])
    print(f"{len(args.models) - failed} of {len(args.models)} models hold")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
