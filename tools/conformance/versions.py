"""Writes testdata/conformance/versions.tar.zst: cases for the schema versions that no official case touches.

usage: python tools/conformance/versions.py CASES_DIR [--check] [--only TEXT] [--list]
needs: pip install numpy scipy scikit-learn onnx==1.23.2 onnxruntime; the command zstd

CASES_DIR holds the official cases as SUITE/CASE/model.onnx:
    mkdir cases && tar --zstd -xf testdata/conformance/onnx-1.23.2.tar.zst -C cases

The official cases show each operator mostly in its newest form. For every other live schema
(see schemas.py), and the two that they show by one random draw only (`ONE_DRAW`), this script makes cases in the same layout, versions/OPERATOR-VERSION-NAME/:

  moved    an official case of one node of the same operator, its opset import set to the schema's
           version, its IR version to the oldest that knows that opset. Where an old form takes as an
           attribute what is now an input, it is rewritten (`REWRITE`). The expected outputs stay the
           official ones. The checker must accept the model with full_check; cases in which the old
           version means something else, or says nothing, are listed in `NOT_SAME`.
  by hand  versions_by_hand.py and versions_ml.py: a node in the form of the version, its outputs
           worked out with NumPy, SciPy and scikit-learn from the documentation of that version.

--check  also runs the cases in ONNX Runtime and in onnx.reference, and tells which disagree and
         which neither of them runs; nothing is written
--list   names the cases instead of writing them
--only   checks or lists only cases whose name contains this; nothing is written
"""
import argparse
import io
import pathlib
import re
import subprocess
import sys
import tarfile
import warnings

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, defs, helper, numpy_helper

import versions_by_hand
import versions_ml
from schemas import schemas, touched

ROOT = pathlib.Path(__file__).resolve().parents[2]
ARCHIVE = ROOT / "testdata/conformance/versions.tar.zst"

# A schema gets no more moved cases than this, spread over those there are, and none of this many bytes.
MOST, LARGEST = 4, 60_000

# Touched by official cases, but by those only that hold one draw of a random operator, which nobody else meets.
ONE_DRAW = {("ai.onnx", "Bernoulli", 22), ("ai.onnx", "RandomUniformLike", 22)}

# Until this version the inputs must have one shape, or broadcasting is asked for by attributes of that time.
NO_BROADCASTING_BEFORE = {
    **dict.fromkeys(["Add", "Sub", "Mul", "Div", "And", "Or", "Xor", "Equal", "Greater", "Less", "Pow"], 7),
    **dict.fromkeys(["Max", "Min", "Sum", "Mean"], 8),
}

# (operator, versions below this one, a pattern in the official case's name, why the case is not the same there).
NOT_SAME = [
    ("Softmax", 13, "", "coerces to two dimensions, axis 1 by default"),
    ("LogSoftmax", 13, "", "coerces to two dimensions, axis 1 by default"),
    ("Hardmax", 13, "", "coerces to two dimensions, axis 1 by default"),
    ("Split", 2, "", "no default axis; the lengths are an attribute or an input"),
    ("BatchNormalization", 7, "", "is_test and consumed_inputs"),
    ("Bernoulli", 99, "", "random: the official outputs are one draw"),
    ("Cast", 6, "", "`to` is a string"),
    ("Clip", 11, "", "min and max are attributes"),
    ("Dropout", 7, "", "trains unless is_test"),
    ("Dropout", 22, "training_dropout($|_default|_mask)", "random"),
    ("DequantizeLinear", 13, "axis", "one scale for the whole tensor"),
    ("QuantizeLinear", 13, "axis", "one scale for the whole tensor"),
    ("Gemm", 7, "(vector|scalar|zero)_bias|all_attributes|alpha|beta|transpose",
     "C is broadcast only where an attribute says so"),
    ("GridSample", 20, "volumetric", "4-D only"),
    ("Mod", 13, "fmod_0", "fmod must be 1 for floats"),
    ("Mod", 28, "edge_cases", "division by zero is not defined"),
    ("OneHot", 11, "negative_indices", "an index below 0 gives a row of off_value"),
    ("PRelu", 7, "", "the slope is of one element or one for each channel"),
    ("Pad", 11, "", "the amounts are an attribute"),
    ("Pad", 19, "wrap", "no such mode"),
    ("Resize", 11, "", "coordinates are asymmetric"),
    ("Resize", 19, "half_pixel_symmetric", "no such transformation"),
    ("RoiAlign", 16, "aligned_true|mode_max", "coordinates are not shifted by half a pixel"),
    ("ScatterElements", 18, "max|min", "no such reduction"),
    ("ScatterND", 18, "max|min", "no such reduction"),
    ("Selu", 6, "default", "the defaults have fewer digits"),
    ("Slice", 11, "negative_axes", "negative axes are not defined"),
    ("Tile", 6, "", "tiles and axis are numbers"),
    ("Upsample", 9, "", "the scales are attributes"),
    *[(f"Reduce{r}", 18, "empty_set", "nothing to reduce is not defined") for r in
      "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare".split()],
]


def attribute(node, name):
    return next((a for a in node.attribute if a.name == name), None)


def drop(node, name):
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)


def to_attribute(case, position, name, scalar=False):
    """An input of the node, the same in the data and in no other place, becomes an attribute."""
    node = case.model.graph.node[0]
    if len(node.input) <= position:
        return
    value = case.take_input(position)
    if value is not None:
        numbers = [int(v) for v in value.ravel()]
        if not numbers and name == "axes":
            return  # all of them, which an old form says by leaving the attribute out
        node.attribute.append(helper.make_attribute(
            name, numbers[0] if scalar else numbers, attr_type=AttributeProto.INT if scalar else AttributeProto.INTS))


def axes_to_attribute(case, version):
    to_attribute(case, 1, "axes")
    drop(case.model.graph.node[0], "noop_with_empty_axes")


def lp_pool(case, version):
    p = attribute(case.model.graph.node[0], "p")
    if version < 2 and p is not None:
        p.CopyFrom(helper.make_attribute("p", float(p.i)))


def grid_sample(case, version):
    mode = attribute(case.model.graph.node[0], "mode")
    if version < 20 and mode is not None:
        mode.s = {b"linear": b"bilinear", b"cubic": b"bicubic"}.get(mode.s, mode.s)


def sequence_is_asked_for(case, version):
    node = case.model.graph.node[0]
    if version < 7 and node.output[0]:
        node.attribute.append(helper.make_attribute("output_sequence", 1))


def depth_to_space(case, version):
    mode = attribute(case.model.graph.node[0], "mode")
    if version < 11 and mode is not None and mode.s == b"DCR":
        drop(case.model.graph.node[0], "mode")


def resize(case, version):
    """Version 11 has roi and scales always; what is not given is empty."""
    node = case.model.graph.node[0]
    if version == 11:
        for position, name in [(1, "no_roi"), (2, "no_scales")]:
            if not node.input[position]:
                node.input[position] = name
                case.model.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [0], []))


def roi_align(case, version):
    if version < 16:
        drop(case.model.graph.node[0], "coordinate_transformation_mode")


def split(case, version):
    if version < 13:
        to_attribute(case, 1, "split")
    if version < 18:
        drop(case.model.graph.node[0], "num_outputs")


def top_k(case, version):
    if version < 10:
        to_attribute(case, 1, "k", scalar=True)
    if version < 11:
        for name in ["largest", "sorted"]:
            given = attribute(case.model.graph.node[0], name)
            if given is not None and given.i == 1:
                drop(case.model.graph.node[0], name)


def reshape(case, version):
    if version < 5:
        to_attribute(case, 1, "shape")
    allow = attribute(case.model.graph.node[0], "allowzero")
    if version < 14 and allow is not None and allow.i == 0:
        drop(case.model.graph.node[0], "allowzero")


# operator: (versions below this one, what brings a newer form into theirs).
REWRITE = {
    **{f"Reduce{r}": (18, axes_to_attribute) for r in "L1 L2 LogSum LogSumExp Max Mean Min Prod SumSquare".split()},
    "ReduceSum": (13, axes_to_attribute),
    "Squeeze": (13, axes_to_attribute),
    "DepthToSpace": (11, depth_to_space),
    "GRU": (7, sequence_is_asked_for), "LSTM": (7, sequence_is_asked_for), "RNN": (7, sequence_is_asked_for),
    "GridSample": (20, grid_sample),
    "LpPool": (2, lp_pool),
    "Reshape": (14, reshape),
    "Resize": (13, resize),
    "RoiAlign": (16, roi_align),
    "Split": (18, split),
    "TopK": (11, top_k),
}


class Case:
    """An official case, read for being moved to another version."""

    def __init__(self, folder):
        self.folder, self.model = folder, onnx.load(folder / "model.onnx")
        data = folder / "test_data_set_0"

        def files(kind):
            return [p.read_bytes() for p in
                    sorted(data.glob(f"{kind}_*.pb"), key=lambda p: int(p.stem.split("_")[1]))]
        self.inputs, self.outputs = files("input"), files("output")
        options = folder / "data.json"
        self.options = options.read_bytes() if options.exists() else None

    def take_input(self, position):
        """Removes an input of the only node and of the graph; its value or None."""
        node, graph = self.model.graph.node[0], self.model.graph
        name, value = node.input[position], None
        del node.input[position]
        while node.input and not node.input[-1]:
            node.input.pop()
        given = [v.name for v in graph.input]
        if name in given:
            at = given.index(name)
            value = numpy_helper.to_array(TensorProto.FromString(self.inputs.pop(at)))
            del graph.input[at]
        return value

    def shapes(self):
        return {tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in self.model.graph.input}


def accepted(model):
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception:
        return False
    return True


def understood(model, schema):
    """Negative axes are used only where the version's documentation knows them, attributes only where it has them."""
    node = model.graph.node[0]
    for name in ["axis", "axes"]:
        given = attribute(node, name)
        if given is None:
            continue
        if name not in schema.attributes:
            return False
        known = schema.attributes[name]
        numbers = [given.i] if given.type == AttributeProto.INT else given.ints
        negative = any(n < 0 for n in numbers)
        if negative and "egative" not in known.description and known.default_value.i >= 0:
            return False
    return True


def moved(folder, domain, name, version):
    """The official case as (model, inputs, outputs, options) of that version, or None if it cannot be."""
    official = folder.name.removeprefix("test_")
    if any(name == n and version < below and re.search(pattern, official) for n, below, pattern, _ in NOT_SAME):
        return None
    case = Case(folder)
    model = case.model
    if len(model.graph.node) != 1 or model.graph.node[0].op_type != name:
        return None
    if version < NO_BROADCASTING_BEFORE.get(name, 0) and len(case.shapes()) > 1:
        return None
    below, rewrite = REWRITE.get(name, (0, None))
    if version < below:
        rewrite(case, version)
    for opset in model.opset_import:
        if (opset.domain or "ai.onnx") == domain:
            opset.version = version
    model.ir_version = max(3, helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True))
    model.graph.name = f"{name}-{version}-{official}"
    schema = defs.get_schema(name, version, "" if domain == "ai.onnx" else domain)
    if not understood(model, schema) or not accepted(model):
        return None
    if (domain, name, version) not in touched(model):
        return None
    return model.SerializeToString(deterministic=True), case.inputs, case.outputs, case.options


def spread(items, most):
    """At most so many, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def build(cases):
    """{case name: (model, inputs, outputs, options)}, {schema: origin} of what the official cases do not touch."""
    seen, by_operator = set(), {}
    for path in sorted(cases.glob("*/*/model.onnx")):
        here = touched(onnx.load(path))
        seen |= here
        if path.parent.parent.name == "node" and "_expanded" not in path.parent.name:
            for domain, name, _ in here:
                by_operator.setdefault((domain, name), []).append(path.parent)
    if not seen:
        raise SystemExit(f"{cases}: no SUITE/CASE/model.onnx in it; see the top of this script")
    made, origin = {}, {}
    by_hand = {}
    for case in [*versions_by_hand.cases(), *versions_ml.cases()]:
        by_hand.setdefault((case.domain, case.operator, case.version), []).append(case)
    for domain, name, version, live in schemas():
        key = (domain, name, version)
        if not live or (key in seen and key not in ONE_DRAW):
            continue
        origin[key] = []
        moves = []
        for folder in by_operator.get((domain, name), []):
            case = moved(folder, domain, name, version)
            if case:
                moves.append((folder.name.removeprefix("test_"), case))
        small = [m for m in moves if len(m[1][0]) + sum(map(len, m[1][1] + m[1][2])) < LARGEST]
        for official, case in spread(small or moves[:1], MOST):
            made[f"{name}-{version}-{official}"] = case
            origin[key].append("moved")
        for case in by_hand.pop(key, []):
            onnx.checker.check_model(case.model(), full_check=True)
            if key not in touched(case.model()):
                raise SystemExit(f"{case.name()} does not touch {key}")
            made[case.name()] = (case.model().SerializeToString(deterministic=True), case.input_files(),
                                 case.output_files(), None)
            origin[key].append("by hand")
    if by_hand:
        raise SystemExit(f"cases for what the official ones touch, or what is no schema: {sorted(by_hand)}")
    return made, origin


def write(made):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        def add(path, content):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for name, (model, inputs, outputs, options) in sorted(made.items()):
            add(f"versions/{name}/model.onnx", model)
            if options:
                add(f"versions/{name}/data.json", options)
            for kind, files in [("input", inputs), ("output", outputs)]:
                for i, content in enumerate(files):
                    add(f"versions/{name}/test_data_set_0/{kind}_{i}.pb", content)
    packed = subprocess.run(["zstd", "-19", "--no-progress", "-c"], input=raw.getvalue(), stdout=subprocess.PIPE,
                            check=True).stdout
    ARCHIVE.write_bytes(packed)
    return len(packed)


# ---- other engines -----------------------------------------------------------------------------

def value_of(content, type_):
    kind = type_.WhichOneof("value")
    if kind == "optional_type":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(content))
    if kind == "sequence_type":
        sequence = onnx.SequenceProto.FromString(content)
        if sequence.map_values:
            return [plain_map(m) for m in sequence.map_values]
        return numpy_helper.to_list(onnx.SequenceProto.FromString(content))
    if kind == "map_type":
        return plain_map(onnx.MapProto.FromString(content))
    return numpy_helper.to_array(TensorProto.FromString(content))


def plain_map(proto):
    keys = [k.decode() for k in proto.string_keys] or list(proto.keys)
    return dict(zip(keys, (v.item() for v in numpy_helper.to_list(proto.values))))


def alike(a, b):
    if a is None or b is None:
        return a is b
    if isinstance(b, dict):
        return sorted(a) == sorted(b) and all(np.allclose(a[k], b[k], 1e-3, 1e-6) for k in b)
    if isinstance(b, list):
        return len(a) == len(b) and all(map(alike, a, b))
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return False
    if b.dtype.kind in "OSU":
        return [str(x) for x in a.ravel()] == [str(x) for x in b.ravel()]
    if a.dtype != b.dtype:
        return False
    kind = complex if b.dtype.kind == "c" else float
    return np.allclose(a.astype(kind), b.astype(kind), 1e-3, 1e-6, equal_nan=True)


def in_ort(model, feeds):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def in_reference(model, feeds):
    from onnx.reference import ReferenceEvaluator
    return ReferenceEvaluator(model).run(None, feeds)


def check(made):
    alone, wrong = [], 0
    for name, (model, inputs, outputs, _) in sorted(made.items()):
        model = onnx.ModelProto.FromString(model)
        notes = []
        for engine, run in [("ONNX Runtime", in_ort), ("onnx.reference", in_reference)]:
            try:
                feeds = {v.name: value_of(c, v.type) for c, v in zip(inputs, model.graph.input)}
                got = run(model, feeds)
                expected = [value_of(c, v.type) for c, v in zip(outputs, model.graph.output)]
                good = len(got) == len(expected) and all(map(alike, got, expected))
                notes.append((engine, "agrees" if good else
                              f"DIFFERS {' '.join(str(got).split())[:150]} expected {' '.join(str(expected).split())[:150]}"))
            except Exception as error:
                notes.append((engine, f"does not run it: {' '.join(str(error).split())[:160]}"))
        agree = [n for n in notes if n[1] == "agrees"]
        differ = [n for n in notes if n[1].startswith("DIFFERS")]
        if not agree and not differ:
            alone.append((name, notes))
        for engine, what in differ:
            wrong += not agree
            print(f"{name}: {engine} {what}" + ("" if agree else "  (the other one: " + [n for n in notes if n[0] != engine][0][1] + ")"))
    print(f"{len(made)} cases; {wrong} disagreements that no other engine answers; {len(alone)} that neither runs:")
    for name, notes in alone:
        print(f"  {name}: {'; '.join(f'{e}: {w[17:100]}' for e, w in notes)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    made, origin = build(args.cases)
    chosen = {k: v for k, v in made.items() if args.only in k}
    if args.check:
        check(chosen)
    elif args.list:
        for name in sorted(chosen):
            print(name)
    elif not args.only:
        print(f"{write(made):,} bytes")
    count = [o for origins in origin.values() for o in origins]
    print(f"{len(origin)} schemas that no official case touches, or by one draw only; {count.count('moved')} cases moved, "
          f"{count.count('by hand')} by hand")
    missing = [f"{name}-{version}" for (_, name, version), origins in origin.items() if not origins]
    if missing:
        print(f"{len(missing)} still without a case: {' '.join(missing)}")
    sys.exit(bool(missing))


if __name__ == "__main__":
    main()
