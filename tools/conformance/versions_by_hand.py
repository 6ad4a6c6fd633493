"""Cases of versions.py for operators of the default domain, built in the form of one version.

Expected values come from NumPy and SciPy, and follow the documentation of that version
(onnx.defs.get_schema(name, version).doc).
"""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from scipy import special

F32 = np.float32


class Case:
    """A node, its inputs and outputs: arrays, dicts (maps), lists (sequences); None is an input left out."""

    def __init__(self, operator, version, label, inputs, outputs, domain="ai.onnx", attributes=None, types=None,
                 after=(), opset=None, unread=0, constants=()):
        self.operator, self.version, self.label, self.domain = operator, version, label, domain
        self.inputs, self.outputs, self.attributes = inputs, outputs, attributes or {}
        # {position of an output: its TypeProto}, where the value does not tell it.
        self.types = types or {}
        # Nodes that turn what the operator gives (r0, r1, ...) into the outputs (y0, y1, ...).
        self.after, self.opset = list(after), opset
        # Outputs that the schema demands and the case does not look at.
        self.unread = unread
        # Positions of inputs that Constant nodes in the model give.
        self.constants = constants

    def name(self):
        return f"{self.operator}-{self.version}-{self.label}"

    def model(self):
        names = [f"x{i}" if v is not None else "" for i, v in enumerate(self.inputs)]
        results = [f"{'r' if self.after else 'y'}{i}" for i in range(len(self.outputs))]
        results += [f"unread{i}" for i in range(self.unread)]
        domain = "" if self.domain == "ai.onnx" else self.domain
        node = helper.make_node(self.operator, names, results, domain=domain, **self.attributes)
        given = [helper.make_value_info(f"x{i}", type_of(v)) for i, v in self.fed()]
        before = [helper.make_node("Constant", [], [f"x{i}"], value=numpy_helper.from_array(self.inputs[i]))
                  for i in self.constants]
        made = [helper.make_value_info(f"y{i}", self.types.get(i) or type_of(v)) for i, v in enumerate(self.outputs)]
        graph = helper.make_graph([*before, node, *self.after], self.name(), given, made)
        opsets = [helper.make_opsetid(domain, self.version)]
        if domain and self.after:
            opsets.append(helper.make_opsetid("", self.opset))
        ir = max(3, helper.find_min_ir_version_for(opsets, ignore_unknown=True))
        return helper.make_model(graph, opset_imports=opsets, ir_version=ir)

    def input_files(self):
        return [content(f"x{i}", v) for i, v in self.fed()]

    def fed(self):
        return [(i, v) for i, v in enumerate(self.inputs) if v is not None and i not in self.constants]

    def output_files(self):
        return [content(f"y{i}", v, self.types.get(i)) for i, v in enumerate(self.outputs)]


def type_of(value):
    if isinstance(value, dict):
        key, item = next(iter(value.items()))
        key = TensorProto.STRING if isinstance(key, str) else TensorProto.INT64
        return helper.make_map_type_proto(key, helper.make_tensor_type_proto(tensor_type(np.asarray(item)), []))
    if isinstance(value, list):
        return helper.make_sequence_type_proto(type_of(value[0]))
    return helper.make_tensor_type_proto(tensor_type(value), value.shape)


def tensor_type(array):
    return TensorProto.STRING if array.dtype.kind in "OU" else helper.np_dtype_to_tensor_dtype(array.dtype)


def content(name, value, type_=None):
    if type_ is not None and type_.HasField("optional_type"):
        return numpy_helper.from_optional(value, name).SerializeToString(deterministic=True)
    if isinstance(value, dict):
        return map_proto(name, value).SerializeToString(deterministic=True)
    if isinstance(value, list) and isinstance(value[0], dict):
        sequence = onnx.SequenceProto(name=name, elem_type=onnx.SequenceProto.MAP)
        sequence.map_values.extend(map_proto("", v) for v in value)
        return sequence.SerializeToString(deterministic=True)
    if isinstance(value, list):
        return numpy_helper.from_list(value, name).SerializeToString(deterministic=True)
    return numpy_helper.from_array(value, name).SerializeToString(deterministic=True)


def map_proto(name, value):
    made = onnx.MapProto(name=name)
    if isinstance(next(iter(value)), str):
        made.key_type = TensorProto.STRING
        made.string_keys.extend(k.encode() for k in value)
    else:
        made.key_type = TensorProto.INT64
        made.keys.extend(value)
    items = [np.asarray(v, object) if isinstance(v, str) else np.asarray(v) for v in value.values()]
    made.values.CopyFrom(numpy_helper.from_list(items))
    return made


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(F32)


def strings(*values):
    return np.array(values, dtype=object)


def cases():
    return [*broadcasting(), *normalization(), *random(), *types(), *shapes(), *matrices(), *pooling(), *coerced(),
            *resizing(), *constants(), *control_flow()]


def broadcasting():
    """Before version 7 the second operand is spread only where `broadcast` says so, from `axis` on."""
    arithmetic = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}
    logic = {"And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor}
    order = {"Greater": np.greater, "Less": np.less, "Equal": np.equal}
    for name, f in {**arithmetic, **logic, **order}.items():
        def make(*shape, seed):
            if name in logic:
                return numbers(*shape, seed=seed) > 0
            if name == "Equal":
                return np.random.default_rng(seed).integers(0, 3, shape).astype(np.int32)
            return numbers(*shape, seed=seed) + F32(name == "Div")
        a = make(2, 3, 4, 5, seed=1)
        for label, shape, axis in [("suffix", (4, 5), None), ("axis", (3, 4), 1), ("first", (2,), 0),
                                   ("one_element", (1,), None)]:
            b = make(*shape, seed=2)
            at = len(a.shape) - len(shape) if axis is None else axis
            spread = b.reshape(shape + (1,) * (4 - at - len(shape)))
            attributes = {"broadcast": 1} | ({} if axis is None else {"axis": axis})
            yield Case(name, 1, f"broadcast_{label}", [a, b], [f(a, spread)], attributes=attributes)


def normalization():
    x, scale, bias, mean = numbers(2, 3, 2, 2), numbers(3, seed=1), numbers(3, seed=2), numbers(3, seed=3)
    var = np.array([0.5, 1.5, 2.5], F32)
    c = (1, 3, 1, 1)
    for label, eps in [("is_test", None), ("epsilon", 0.1)]:
        y = (x - mean.reshape(c)) / np.sqrt(var.reshape(c) + (eps or 1e-5)) * scale.reshape(c) + bias.reshape(c)
        yield Case("BatchNormalization", 1, label, [x, scale, bias, mean, var], [y.astype(F32)],
                   attributes={"is_test": 1, "consumed_inputs": [0, 0, 0, 1, 1]} | ({"epsilon": eps} if eps else {}))
    # spatial 0: each place of a feature has its own numbers.
    scale, bias, mean = (numbers(3, 2, 2, seed=s) for s in (4, 5, 6))
    var = np.abs(numbers(3, 2, 2, seed=7)) + F32(0.5)
    y = (x - mean) / np.sqrt(var + 1e-5) * scale + bias
    yield Case("BatchNormalization", 7, "not_spatial", [x, scale, bias, mean, var], [y.astype(F32)],
               attributes={"spatial": 0})


def random():
    """Draws that can only give one result."""
    floor = [helper.make_node("Floor", ["r0"], ["y0"])]
    # Which of its two values Bernoulli prefers is left aside: text and function body of the standard part there.
    # y * y - y is 0 for both.
    binary = [helper.make_node("Mul", ["r0", "r0"], ["square"]), helper.make_node("Sub", ["square", "r0"], ["y0"])]
    p = np.random.default_rng(0).random((4, 5)).astype(F32)
    for version in (15, 22):
        yield Case("Bernoulli", version, "binary", [p], [np.zeros((4, 5), F32)], after=binary)
        yield Case("Bernoulli", version, "dtype", [p], [np.zeros((4, 5), np.double)],
                   attributes={"dtype": TensorProto.DOUBLE}, after=binary)
        yield Case("Bernoulli", version, "seed", [p.astype(np.double)], [np.zeros((4, 5), np.double)],
                   attributes={"seed": 3.0}, after=binary)
    for version in (1, 22):
        yield Case("RandomNormal", version, "floor", [], [np.full((2, 3), 2, F32)],
                   attributes={"shape": [2, 3], "mean": 2.5, "scale": 0.01}, after=floor)
        yield Case("RandomNormal", version, "double", [], [np.full((4,), -2, np.double)],
                   attributes={"shape": [4], "mean": -1.5, "scale": 0.01, "dtype": TensorProto.DOUBLE, "seed": 1.0},
                   after=floor)
        yield Case("RandomNormalLike", version, "floor", [numbers(2, 3)], [np.full((2, 3), 2, F32)],
                   attributes={"mean": 2.5, "scale": 0.01}, after=floor)
        yield Case("RandomNormalLike", version, "dtype", [np.zeros((3, 2), np.int64)], [np.full((3, 2), 4, F32)],
                   attributes={"mean": 4.5, "scale": 0.01, "dtype": TensorProto.FLOAT, "seed": 7.0}, after=floor)
        yield Case("RandomUniform", version, "floor_of_unit", [], [np.zeros((3, 5), F32)],
                   attributes={"shape": [3, 5]}, after=floor)
        yield Case("RandomUniform", version, "floor_between", [], [np.full((40,), -3, F32)],
                   attributes={"shape": [40], "low": -2.75, "high": -2.25, "seed": 5.0}, after=floor)
        yield Case("RandomUniformLike", version, "floor_of_unit", [numbers(3, 5)], [np.zeros((3, 5), F32)], after=floor)
        yield Case("RandomUniformLike", version, "dtype", [np.zeros((40,), np.int32)], [np.full((40,), 2, F32)],
                   attributes={"low": 2.25, "high": 2.75, "dtype": TensorProto.FLOAT}, after=floor)
    # Log-probabilities, one of which leaves nothing to the others.
    logits = np.full((3, 4), -200, F32)
    logits[[0, 1, 2], [2, 0, 3]] = 0
    for version in (7, 22):
        yield Case("Multinomial", version, "sure", [logits], [np.array([[2], [0], [3]], np.int32)])
        yield Case("Multinomial", version, "int64", [logits], [np.array([[2] * 5, [0] * 5, [3] * 5], np.int64)],
                   attributes={"dtype": TensorProto.INT64, "sample_size": 5, "seed": 1.0})
    x = numbers(3, 4)
    for version in (1, 6):
        yield Case("Dropout", version, "is_test", [x], [x], attributes={"is_test": 1})
        yield Case("Dropout", version, "is_test_ratio", [x], [x], attributes={"is_test": 1, "ratio": 0.9})


def types():
    x = np.array([[-1.7, 0.0, 2.2], [3.9, -0.2, 100.0]], F32)
    yield Case("Cast", 1, "float_to_int32", [x], [np.trunc(x).astype(np.int32)], attributes={"to": "INT32"})
    yield Case("Cast", 1, "float_to_double", [x], [x.astype(np.double)], attributes={"to": "DOUBLE"})
    yield Case("Cast", 1, "float_to_bool", [x], [x != 0], attributes={"to": "BOOL"})
    whole = np.array([1, -2, 300], np.int64)
    yield Case("Cast", 1, "int64_to_float", [whole], [whole.astype(F32)], attributes={"to": "FLOAT"})
    yield Case("Cast", 1, "bool_to_int64", [x > 0], [(x > 0).astype(np.int64)], attributes={"to": "INT64"})
    yield Case("Cast", 6, "float_to_int32", [x], [np.trunc(x).astype(np.int32)],
               attributes={"to": TensorProto.INT32})
    yield Case("Clip", 1, "min_max", [x], [np.clip(x, -1, 3)], attributes={"min": -1.0, "max": 3.0})
    yield Case("Clip", 1, "min", [x], [np.maximum(x, F32(0.5))], attributes={"min": 0.5})
    yield Case("Clip", 1, "max", [x], [np.minimum(x, F32(0.5))], attributes={"max": 0.5})
    yield Case("Clip", 1, "default", [x], [x])
    x = numbers(3, 4)
    alpha, gamma = 1.6732, 1.0507
    yield Case("Selu", 1, "default", [x],
               [np.where(x > 0, gamma * x, gamma * (alpha * np.exp(x.astype(np.double)) - alpha)).astype(F32)])
    x = numbers(2, 3, 2, 2)
    slope = np.array([0.1, 0.5, -2], F32)
    yield Case("PRelu", 1, "channels", [x, slope], [np.where(x < 0, x * slope.reshape(3, 1, 1), x)])
    slope = np.array([0.25], F32)
    yield Case("PRelu", 1, "shared", [x, slope], [np.where(x < 0, x * slope, x)])


def shapes():
    x, y = numbers(2, 3, 2), numbers(2, 1, 2, seed=1)
    yield Case("Concat", 1, "default_axis", [x, y], [np.concatenate([x, y], 1)])
    for label, shape in [("zero", [0, -1]), ("inferred", [3, -1, 2]), ("plain", [12])]:
        target = [2, 6] if label == "zero" else shape
        yield Case("Reshape", 1, label, [x], [x.reshape(target)], attributes={"shape": shape})
    x = numbers(2, 6)
    yield Case("Split", 1, "attribute", [x], np.split(x, [2, 3], 1), attributes={"axis": 1, "split": [2, 1, 3]})
    yield Case("Split", 1, "input", [x, np.array([1, 5], F32)], np.split(x, [1], 1), attributes={"axis": 1})
    yield Case("Split", 1, "constant", [x, np.array([1, 5], F32)], np.split(x, [1], 1), attributes={"axis": 1},
               constants=[1])
    yield Case("Split", 1, "equal", [x], np.split(x, 3, 1), attributes={"axis": 1})
    yield Case("Split", 11, "attribute", [x], np.split(x, [2, 3], -1), attributes={"axis": -1, "split": [2, 1, 3]})
    yield Case("Split", 11, "equal_default_axis", [x], np.split(x, 2, 0))
    one = numbers(1, 3, 1, 2)
    yield Case("Squeeze", 11, "negative_axes", [one], [one[:, :, 0]], attributes={"axes": [-2]})
    yield Case("Squeeze", 11, "all", [one], [one.reshape(3, 2)])
    yield Case("Tile", 1, "constants", [x, np.array(3, F32), np.array(1, F32)], [np.tile(x, (1, 3))], constants=[1, 2])
    yield Case("Tile", 1, "scalar", [x, np.array(3, F32), np.array(1, F32)], [np.tile(x, (1, 3))])
    yield Case("Tile", 1, "one_element", [x, np.array([2], F32), np.array([0], F32)], [np.tile(x, (2, 1))])
    pads = [0, 1, 2, 0]
    around = [(0, 2), (1, 0)]
    x = numbers(3, 4)
    yield Case("Pad", 1, "default", [x], [np.pad(x, around)], attributes={"paddings": pads})
    yield Case("Pad", 1, "value", [x], [np.pad(x, around, constant_values=F32(1.5))],
               attributes={"paddings": pads, "mode": "constant", "value": 1.5})
    for mode in ["reflect", "edge"]:
        yield Case("Pad", 1, mode, [x], [np.pad(x, around, mode=mode)], attributes={"paddings": pads, "mode": mode})
    x = numbers(3, 5)
    best = np.argsort(-x, axis=0, kind="stable")[:2]
    yield Case("TopK", 1, "axis", [x], [np.take_along_axis(x, best, 0), best], attributes={"k": 2, "axis": 0})
    ties = np.array([[1, 3, 3, 2, 3]], F32)
    yield Case("TopK", 1, "ties", [ties], [np.array([[3, 3]], F32), np.array([[1, 2]])], attributes={"k": 2})


def matrices():
    a, b = numbers(2, 3), numbers(3, 4, seed=1)
    c = numbers(4, seed=2)
    yield Case("Gemm", 1, "broadcast_row", [a, b, c], [a @ b + c], attributes={"broadcast": 1})
    c = numbers(2, 4, seed=2)
    yield Case("Gemm", 1, "all_attributes", [a.T.copy(), b.T.copy(), c], [F32(0.5) * (a @ b) + F32(2) * c],
               attributes={"alpha": 0.5, "beta": 2.0, "transA": 1, "transB": 1})
    c = numbers(1, seed=3)
    yield Case("Gemm", 1, "broadcast_number", [a, b, c], [a @ b + c], attributes={"broadcast": 1})


def pooling():
    x = numbers(2, 3, 4, 5)

    def norm(x, p):
        axes = tuple(range(2, x.ndim))
        return (np.abs(x.astype(np.double)) ** p).sum(axes, keepdims=True) ** (1 / p)
    for version in (1, 2, 22):
        whole = float if version == 1 else int
        yield Case("GlobalLpPool", version, "default", [x], [norm(x, 2).astype(F32)])
        for p in (1, 3):
            yield Case("GlobalLpPool", version, f"p{p}", [x], [norm(x, p).astype(F32)], attributes={"p": whole(p)})
        line = numbers(2, 3, 7)
        yield Case("GlobalLpPool", version, "1d", [line], [norm(line, 2).astype(F32)])
    x = numbers(2, 2, 6, 7)
    rois = np.array([[0, 0, 0, 6, 5], [1, 1, 2, 4, 5], [0, 3, 1, 3, 1], [1, 2, 2, 5, 4]], F32)
    for version in (1, 22):
        for label, scale in [("default", 1.0), ("spatial_scale", 0.5)]:
            boxes = rois.copy()
            boxes[:, 1:] /= F32(scale)
            yield Case("MaxRoiPool", version, label, [x, boxes], [max_roi_pool(x, boxes, (2, 3), scale)],
                       attributes={"pooled_shape": [2, 3]} | ({} if scale == 1 else {"spatial_scale": scale}))


def max_roi_pool(x, rois, pooled, scale):
    """As in Fast R-CNN: the box has both its ends, bins overlap where they are no whole number of pixels."""
    out = np.zeros((len(rois), x.shape[1], *pooled), x.dtype)
    for r, (image, *box) in enumerate(rois):
        x1, y1, x2, y2 = (int(np.floor(v * scale + 0.5)) for v in box)
        sizes = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
        for i in range(pooled[0]):
            for j in range(pooled[1]):
                edges = []
                for k, start, size, bins, limit in [(i, y1, sizes[0], pooled[0], x.shape[2]),
                                                    (j, x1, sizes[1], pooled[1], x.shape[3])]:
                    low, high = k * size // bins, -((-(k + 1) * size) // bins)
                    edges.append(slice(*np.clip([start + low, start + high], 0, limit)))
                part = x[int(image), :, edges[0], edges[1]]
                if part.size:
                    out[r, :, i, j] = part.max((1, 2))
    return out


def coerced():
    """Before version 13 these see a matrix: the axes before `axis` are its rows."""
    def hardmax(rows):
        return np.eye(rows.shape[1], dtype=F32)[rows.argmax(1)]
    x = numbers(2, 3, 4)
    for name, version, f in [("Softmax", 11, special.softmax), ("LogSoftmax", 11, special.log_softmax),
                             ("Hardmax", 1, None), ("Hardmax", 11, None)]:
        labels = [("default_axis", None, 1), ("axis_0", 0, 0), ("axis_2", 2, 2)]
        if version == 11:
            labels.append(("negative_axis", -2, 1))
        for label, given, axis in labels:
            rows = x.reshape(int(np.prod(x.shape[:axis])), -1)
            y = hardmax(rows) if f is None else f(rows, axis=1)
            yield Case(name, version, label, [x], [y.reshape(x.shape).astype(F32)],
                       attributes={} if given is None else {"axis": given})
    tied = np.array([[3, 3, 3, 1]], F32)
    for version in (1, 11):
        yield Case("Hardmax", version, "first_of_equals", [tied], [np.array([[1, 0, 0, 0]], F32)])


def stretched(x, scales, mode):
    """Upsample, and Resize before version 11: place i of the output lies at i / scale."""
    y = x
    for axis, scale in enumerate(scales):
        n = y.shape[axis]
        places = np.arange(int(np.floor(n * np.double(F32(scale)) + 1e-6))) / np.double(F32(scale))
        if mode == "nearest":
            # Shrinking takes the next element, as the cases of that time do.
            picked = np.ceil(places - 1e-6) if scale < 1 else np.floor(places + 1e-6)
            y = np.take(y, np.minimum(picked, n - 1).astype(int), axis)
        else:
            places = np.minimum(places, n - 1)
            low = np.floor(places).astype(int)
            part = (places - low).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
            y = np.take(y, low, axis) * (1 - part) + np.take(y, np.minimum(low + 1, n - 1), axis) * part
    return y.astype(x.dtype)


def resizing():
    x = np.array([[[[1, 2], [3, 4]]]], F32)
    wide = np.arange(1, 9, dtype=F32).reshape(1, 1, 2, 4)
    picture = numbers(1, 2, 3, 4)
    for label, data, scales, mode in [("upsample_nearest", x, [1, 1, 2, 3], "nearest"),
                                      ("upsample_linear", x, [1, 1, 2, 2], "linear"),
                                      ("upsample_linear_picture", picture, [1, 1, 2, 3], "linear"),
                                      ("downsample_nearest", wide, [1, 1, 0.6, 0.6], "nearest"),
                                      ("downsample_linear", wide, [1, 1, 0.6, 0.6], "linear")]:
        yield Case("Resize", 10, label, [data, np.array(scales, F32)], [stretched(data, scales, mode)],
                   attributes={"mode": mode})
    yield Case("Resize", 10, "default_mode", [x, np.array([1, 1, 2, 2], F32)], [stretched(x, [1, 1, 2, 2], "nearest")])
    for label, mode in [("nearest", "nearest"), ("linear", "linear")]:
        for name, data, scales in [("", x, [1.0, 1.0, 2.0, 2.0]), ("_picture", picture, [1.0, 1.0, 3.0, 2.0])]:
            expected = stretched(data, scales, mode)
            yield Case("Upsample", 7, label + name, [data], [expected], attributes={"mode": mode, "scales": scales})
            yield Case("Upsample", 1, label + name, [data], [expected],
                       attributes={"mode": "bilinear" if mode == "linear" else mode,
                                   "height_scale": scales[2], "width_scale": scales[3]})
    yield Case("Upsample", 7, "default_mode", [x], [stretched(x, [1, 1, 2, 2], "nearest")],
               attributes={"scales": [1.0, 1.0, 2.0, 2.0]})


def constants():
    sparse = helper.make_sparse_tensor(helper.make_tensor("v", TensorProto.FLOAT, [2], [1.5, -2]),
                                       helper.make_tensor("i", TensorProto.INT64, [2], [1, 5]), [2, 3])
    for label, value, expected in [
            ("value_float", 1.5, np.array(1.5, F32)), ("value_floats", [1.5, -2.0], np.array([1.5, -2], F32)),
            ("value_int", 7, np.array(7)), ("value_ints", [1, -2, 3], np.array([1, -2, 3])),
            ("value_string", "ähm", np.array("ähm", object)), ("value_strings", ["a", ""], strings("a", "")),
            ("sparse_value", sparse, np.array([[0, 1.5, 0], [0, 0, -2]], F32))]:
        yield Case("Constant", 12, label, [], [expected], attributes={label: value})


def control_flow():
    """A loop of version 1: the body counts, decides and gathers."""
    def value(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["goes_on"]),
         helper.make_node("Add", ["total", "total"], ["doubled"]),
         helper.make_node("Identity", ["total"], ["seen"])],
        "body",
        [value("i", TensorProto.INT64, []), value("going", TensorProto.BOOL, []), value("total", TensorProto.FLOAT, [2])],
        [value("goes_on", TensorProto.BOOL, []), value("doubled", TensorProto.FLOAT, [2]),
         value("seen", TensorProto.FLOAT, [2])])
    start = np.array([1, -3], F32)
    powers = F32(2) ** np.arange(4, dtype=F32)[:, None]
    yield Case("Loop", 1, "trips", [np.array(4), np.array(True), start], [start * 16, powers * start],
               attributes={"body": body})
    yield Case("Loop", 1, "no_condition", [np.array(3), None, start], [start * 8, powers[:3] * start],
               attributes={"body": body})
    x = numbers(2, 3)
    optional = helper.make_optional_type_proto(type_of(x))
    yield Case("Optional", 28, "of_tensor", [x], [x], types={0: optional})
    yield Case("Optional", 28, "empty", [], [np.array(False)], attributes={"type": type_of(x)},
               after=[helper.make_node("OptionalHasElement", ["r0"], ["y0"])])
    yield Case("Optional", 28, "of_sequence", [[x, x[:1]]], [[x, x[:1]]],
               types={0: helper.make_optional_type_proto(helper.make_sequence_type_proto(
                   helper.make_tensor_type_proto(TensorProto.FLOAT, None)))})
