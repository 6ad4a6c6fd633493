"""Does `--infer-shapes` know what ONNX Runtime's symbolic inference and onnx.shape_inference know?

usage: python tools/convert/shapes.py MODEL.onnx ... --convert PATH/onnx-convert [--free]
needs: pip install onnx onnxruntime sympy

--free first frees the first dimension of every input as `batch`, where the model still infers so. For every value of
the main graph that both sides name, counts the dimensions that one of the two tools knows, as a number or as an expression of
the model's own symbols, and how many of these `onnx-convert IN OUT --infer-shapes` writes as well. A name that a tool made up
(`unk__3`) is no knowledge. Numbers must be the same. Lists what is missing; exit code 1 if there is any.
"""
import argparse
import contextlib
import io
import pathlib
import re
import subprocess
import sys
import tempfile

import onnx
from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

MADE_UP = re.compile(r"unk__|\?")


def shapes(model):
    found = {}
    for value in list(model.graph.value_info) + list(model.graph.output):
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type" or not value.type.tensor_type.HasField("shape"):
            continue
        dims = []
        for d in value.type.tensor_type.shape.dim:
            if d.HasField("dim_value"):
                # Some exporters write -1 for what they do not know.
                dims.append(d.dim_value if d.dim_value >= 0 else None)
            elif d.dim_param and not MADE_UP.search(d.dim_param):
                dims.append(d.dim_param)
            else:
                dims.append(None)
        found[value.name] = dims
    return found


def bare(model):
    del model.graph.value_info[:]
    return model


def theirs(path):
    # The tool leaves a copy of the model, with its weights, in the working folder where it does not come through.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.chdir(path.parent):
        try:
            ort = shapes(SymbolicShapeInference.infer_shapes(bare(onnx.load(path)), auto_merge=True))
        except Exception as error:
            print(f"  (symbolic_shape_infer: {type(error).__name__} {str(error)[:80]})", file=sys.stderr)
            ort = {}
    try:
        own = shapes(onnx.shape_inference.infer_shapes(bare(onnx.load(path)), data_prop=True))
    except Exception:
        own = {}
    return ort, own


def freed(path, folder):
    model = onnx.load(path)
    names = {t.name for t in model.graph.initializer}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name not in names and len(dims) and dims[0].HasField("dim_value"):
            dims[0].dim_param = "batch"
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    out = folder / "free.onnx"
    onnx.save(bare(model), out)
    # Where constants hold for the model's own batch alone it does not infer so, unless sizes that differ are merged.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.chdir(folder):
        try:
            SymbolicShapeInference.infer_shapes(onnx.load(out), auto_merge=False)
        except Exception:
            print(f"  ({path.stem}: with a free batch sizes would have to be merged; its own stays)", file=sys.stderr)
            return path
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--convert", required=True)
    parser.add_argument("--free", action="store_true")
    args = parser.parse_args()
    args.models = [path.resolve() for path in args.models]
    bad = 0
    print(f"{'model':24} {'values':>7} {'dims':>7} {'known':>7} {'missing':>8} {'other number':>13}")
    for path in args.models:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            source = freed(path, folder) if args.free else path
            stripped = folder / "bare.onnx"
            onnx.save(bare(onnx.load(source)), stripped)
            out = folder / "ours.onnx"
            subprocess.run([args.convert, stripped, out, "--infer-shapes", "--no-verify"], check=True,
                           capture_output=True)
            ours = shapes(onnx.load(out))
            ort, own = theirs(stripped)
        dims = known = 0
        missing, other = [], []
        for name in sorted(set(ort) | set(own)):
            for tool in (ort, own):
                for axis, dim in enumerate(tool.get(name, [])):
                    if dim is None or name not in ours and name not in tool:
                        continue
                    dims += 1
                    mine = ours.get(name)
                    mine = mine[axis] if mine is not None and len(mine) > axis else None
                    if mine is None:
                        missing.append(f"{name}[{axis}] = {dim}")
                    elif isinstance(dim, int) and isinstance(mine, int) and mine != dim:
                        other.append(f"{name}[{axis}]: {mine}, not {dim}")
                    elif isinstance(dim, int) and not isinstance(mine, int):
                        missing.append(f"{name}[{axis}] = {dim}, ours {mine}")
                    else:
                        known += 1
        bad += bool(missing or other)
        name = path.stem if path.stem != "model" else path.parent.name
        print(f"{name:24} {len(set(ort) | set(own)):7} {dims:7} {known:7} {len(missing):8} {len(other):13}", flush=True)
        for line in (missing + other)[:10]:
            print(f"    {line}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
