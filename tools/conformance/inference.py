"""Compares what our inference knows of a model's sizes with what `onnx.shape_inference` knows.

    python tools/conformance/inference.py target/release/onnx-convert FOLDER [FOLDER ...]

For every model.onnx below the folders, the sizes that the file declares for outputs and values in between are taken
away. `onnx.shape_inference.infer_shapes` (strict, with data propagation; without where that fails) and
`onnx-convert --value-info` then work them out, and every value of the main graph is compared:

* fewer: a number, a name of a size, or a rank that onnx knows and we do not;
* contradiction: other element types, ranks or numbers;
* more: what we know and onnx does not (counted only).

Prints the values of the first two kinds, and totals by operator. Exits with 1 if there are any of them. Needs the
package `onnx` 1.23.
"""

import collections
import concurrent.futures
import pathlib
import subprocess
import sys
import tempfile

import onnx
import onnx.shape_inference


def bare(model):
    """The model without what it declares of outputs and values in between, element types excepted."""
    for value in model.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    return model


def known(model):
    """Element type and sizes of the values in a model's main graph; None for what is not known."""
    found = {}
    for value in list(model.graph.value_info) + list(model.graph.output):
        if not value.type.HasField("tensor_type"):
            continue
        tensor = value.type.tensor_type
        dims = None
        if tensor.HasField("shape"):
            dims = []
            for dim in tensor.shape.dim:
                if dim.HasField("dim_value"):
                    dims.append(dim.dim_value)
                elif dim.dim_param and not dim.dim_param.startswith("unk__"):
                    dims.append(dim.dim_param)
                else:
                    dims.append(None)
        found[value.name] = (tensor.elem_type, dims)
    return found


def compare(theirs, ours):
    """The kind of difference (or None), and how many sizes each side knows."""
    if ours is None:
        ours = (0, None)
    count = [sum(d is not None for d in side[1] or []) for side in (theirs, ours)]
    kind = None
    if theirs[0] and ours[0] and theirs[0] != ours[0]:
        return "contradiction", count
    if theirs[1] is None:
        return None, count
    if ours[1] is None:
        return "fewer", count
    if len(theirs[1]) != len(ours[1]):
        return "contradiction", count
    for a, b in zip(theirs[1], ours[1]):
        if isinstance(a, int) and isinstance(b, int) and a != b:
            return "contradiction", count
        if (isinstance(a, int) and not isinstance(b, int)) or (a is not None and b is None):
            kind = "fewer"
    return kind, count


def shown(side):
    if side is None:
        return "nothing"
    if side[1] is None:
        return "no rank"
    return "[" + ", ".join("?" if d is None else str(d) for d in side[1]) + "]"


def check(convert, path):
    try:
        model = bare(onnx.load(path))
    except Exception as error:  # protobuf and onnx raise several kinds
        return path, [("unreadable", "", "", str(error))], [0, 0]
    with tempfile.TemporaryDirectory() as folder:
        before, after = pathlib.Path(folder, "before.onnx"), pathlib.Path(folder, "after.onnx")
        onnx.save(model, before)
        done = subprocess.run([convert, before, after, "--value-info"], capture_output=True, text=True)
        if done.returncode != 0:
            return path, [("not read by us", "", "", done.stderr.strip().splitlines()[0])], [0, 0]
        ours = known(onnx.load(after))
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception:  # what onnx cannot infer strictly, it may infer in part
        try:
            inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        except Exception:
            return path, [], [0, 0]
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    findings, totals = [], [0, 0]
    for name, theirs in known(inferred).items():
        if name not in makers:
            continue
        kind, count = compare(theirs, ours.get(name))
        totals = [a + b for a, b in zip(totals, count)]
        if kind:
            findings.append((kind, makers[name], name, f"onnx {shown(theirs)}, ours {shown(ours.get(name))}"))
    return path, findings, totals


def main():
    convert = pathlib.Path(sys.argv[1]).resolve()
    paths = sorted(p for folder in sys.argv[2:] for p in pathlib.Path(folder).rglob("model.onnx"))
    by_operator, totals, values = collections.Counter(), [0, 0], 0
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for path, findings, counts in pool.map(lambda p: check(convert, p), paths):
            totals = [a + b for a, b in zip(totals, counts)]
            for kind, operator, name, what in findings:
                values += kind in ("fewer", "contradiction")
                by_operator[kind, operator] += 1
                print(f"{kind:14} {path.parent.name}: {operator} `{name}`: {what}")
    print(f"{len(paths)} models: onnx knows {totals[0]} sizes, we know {totals[1]} of the same values")
    for (kind, operator), count in by_operator.most_common():
        print(f"{count:6} {kind} {operator}")
    return 1 if values else 0


if __name__ == "__main__":
    sys.exit(main())
