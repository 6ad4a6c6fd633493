"""Does a model survive import and export?

usage: python tools/conformance/round_trip.py CASES_DIR --convert PATH/onnx-convert
           [--models MODEL ...] [--zoo DIR] [--bundled] [--only TEXT] [--notes] [--jobs 2] [--keep DIR]
needs: pip install numpy onnx onnxruntime

CASES_DIR holds the official cases as SUITE/CASE/model.onnx and SUITE/CASE/test_data_set_0/:
    mkdir cases && tar --zstd -xf testdata/conformance/onnx-1.23.2.tar.zst -C cases
--bundled adds testdata/models/, --models and --zoo add models with npz files as agree.py does;
CASES_DIR may then be left out.

For every model:
  convert    onnx-convert IN.onnx OUT.onnx --level none must succeed;
  checker    onnx.checker.check_model must accept OUT where it accepts IN;
  structure  nothing that a user can see may be lost: names, types and order of inputs and outputs;
             nodes with their names, op types, inputs, outputs and attributes (a default that is
             written out equals one that is left out); initializers to the bit; value_info;
             functions; opset imports; doc strings and metadata of every object; producer, version
             and domain. The order of nodes, initializers and value_info is free; value_info
             may be added.
  run        where ONNX Runtime (CPU) runs IN, it must run OUT, with the same outputs, bit for bit;
             those within 1e-6 of the largest value are let through and listed. A model whose own
             outputs change from run to run (random ops) must give outputs of the same type and shape.

ONNX Runtime works in processes of their own: a crash or a hang costs one model and is reported as
such. Prints a table of counts and every failure by name; exit code 1 if there is any.
"""
import argparse
import collections
import concurrent.futures
import ctypes
import json
import os
import pathlib
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import onnx
from onnx import TensorProto, defs, numpy_helper

from agree import pairs

STEPS = ("convert", "checker", "structure", "run")


# ---- structure ---------------------------------------------------------------------------------

def domain_of(name):
    return "" if name == "ai.onnx" else name


def entries(pairs_):
    return sorted((p.key, p.value) for p in pairs_)


def tensor(t, base):
    """Everything of a tensor that a user can see, independent of the field that holds its values."""
    if t.data_type == TensorProto.STRING:
        content = tuple(t.string_data)
    else:
        content = numpy_helper.to_array(t, base).tobytes()
    return {"name": t.name, "type": t.data_type, "shape": tuple(t.dims), "values": content,
            "doc_string": t.doc_string, "metadata": entries(t.metadata_props)}


def sparse(s, base):
    return tensor(s.values, base), tensor(s.indices, base), tuple(s.dims)


def attribute(a, base, opsets):
    kind = onnx.AttributeProto
    content = {
        kind.FLOAT: lambda: np.float32(a.f).tobytes(), kind.INT: lambda: a.i, kind.STRING: lambda: a.s,
        kind.TENSOR: lambda: tensor(a.t, base), kind.GRAPH: lambda: graph(a.g, base, opsets),
        kind.SPARSE_TENSOR: lambda: sparse(a.sparse_tensor, base),
        kind.TYPE_PROTO: lambda: a.tp.SerializeToString(deterministic=True),
        kind.FLOATS: lambda: np.array(a.floats, np.float32).tobytes(), kind.INTS: lambda: tuple(a.ints),
        kind.STRINGS: lambda: tuple(a.strings), kind.TENSORS: lambda: [tensor(t, base) for t in a.tensors],
        kind.GRAPHS: lambda: [graph(g, base, opsets) for g in a.graphs],
        kind.SPARSE_TENSORS: lambda: [sparse(s, base) for s in a.sparse_tensors],
        kind.TYPE_PROTOS: lambda: [t.SerializeToString(deterministic=True) for t in a.type_protos],
    }.get(a.type, lambda: None)()
    return {"type": a.type, "value": content, "reference": a.ref_attr_name, "doc_string": a.doc_string}


def trimmed(names):
    names = list(names)
    while names and not names[-1]:
        names.pop()
    return names


def node(n, base, opsets):
    domain = domain_of(n.domain)
    attributes = {a.name: attribute(a, base, opsets) for a in n.attribute}
    try:
        schema = defs.get_schema(n.op_type, opsets.get(domain, 1), domain)
        for name, declared in schema.attributes.items():
            if declared.default_value.type and name not in attributes:
                attributes[name] = attribute(declared.default_value, base, opsets) | {"doc_string": ""}
    except defs.SchemaError:
        pass
    return {"name": n.name, "operator": (domain, n.op_type, n.overload), "inputs": trimmed(n.input),
            "outputs": trimmed(n.output), "attributes": attributes, "doc_string": n.doc_string,
            "metadata": entries(n.metadata_props), "devices": [d.SerializeToString(deterministic=True)
                                                               for d in getattr(n, "device_configurations", [])]}


def value(v):
    return {"name": v.name, "type": " ".join(str(v.type).split()), "doc_string": v.doc_string,
            "metadata": entries(v.metadata_props)}


def graph(g, base, opsets):
    return {
        "name": g.name, "doc_string": g.doc_string, "metadata": entries(g.metadata_props),
        "inputs": [value(v) for v in g.input], "outputs": [value(v) for v in g.output],
        "value_info": {v.name: value(v) for v in g.value_info},
        "initializers": {t.name: tensor(t, base) for t in g.initializer},
        "sparse initializers": {s.values.name: sparse(s, base) for s in g.sparse_initializer},
        "quantization annotations": sorted((q.tensor_name, entries(q.quant_parameter_tensor_names))
                                           for q in g.quantization_annotation),
        "nodes": [node(n, base, opsets) for n in g.node],
    }


def function(f, base):
    opsets = {domain_of(o.domain): o.version for o in f.opset_import}
    return {
        "inputs": list(f.input), "outputs": list(f.output), "attribute names": list(f.attribute),
        "default attributes": {a.name: attribute(a, base, opsets) for a in f.attribute_proto},
        "opset imports": opsets, "doc_string": f.doc_string, "metadata": entries(f.metadata_props),
        "value_info": {v.name: value(v) for v in f.value_info},
        "nodes": [node(n, base, opsets) for n in f.node],
    }


def model(m, base):
    opsets = {domain_of(o.domain): o.version for o in m.opset_import}
    return {
        "IR version": m.ir_version, "opset imports": opsets, "producer": (m.producer_name, m.producer_version),
        "model version": m.model_version, "domain": m.domain, "doc_string": m.doc_string,
        "metadata": entries(m.metadata_props), "training info": len(m.training_info),
        "device configurations": [c.SerializeToString(deterministic=True) for c in getattr(m, "configuration", [])],
        "functions": {(domain_of(f.domain), f.name, f.overload): function(f, base) for f in m.functions},
        "graph": graph(m.graph, base, opsets),
    }


def short(x):
    text = repr(x)
    return text if len(text) <= 80 else text[:77] + "..."


def lost(a, b, where, found):
    """Appends to found what a (the original) has and b has not, or has differently."""
    if len(found) >= 20 or a == b:
        return
    what = where.rpartition(": ")[2]
    if what == "nodes":
        count = collections.Counter
        for key in ("operator", "name"):
            before, after = (count(n[key] for n in nodes) for nodes in (a, b))
            if before != after:
                found.append(f"{where}: {key}s: lost {short(dict(before - after))}, new {short(dict(after - before))}")
                return
        def place(n):
            return n["operator"], n["outputs"], n["name"], n["inputs"]
        for x, y in zip(sorted(a, key=place), sorted(b, key=place)):
            lost(x, y, f"{where} {x['name'] or x['outputs']} ({x['operator'][1]})", found)
    elif isinstance(a, dict) and isinstance(b, dict):
        for key in a:
            if key not in b:
                found.append(f"{where}: {key}: lost")
            else:
                lost(a[key], b[key], f"{where}: {key}" if where else str(key), found)
        if what != "value_info":
            found += [f"{where}: {key}: new" for key in b if key not in a]
    elif isinstance(a, (list, tuple)) and type(a) is type(b) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b)):
            lost(x, y, f"{where}[{i}]", found)
    else:
        found.append(f"{where}: {short(a)} became {short(b)}")


# ---- ONNX Runtime ------------------------------------------------------------------------------

def load_value(path, kind):
    """A .pb file as what ONNX Runtime takes: an array, a list or None."""
    data = path.read_bytes()
    if kind == "sequence_type":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind == "optional_type":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    if kind == "map_type":
        return numpy_helper.to_dict(onnx.MapProto.FromString(data))
    return numpy_helper.to_array(TensorProto.FromString(data))


def feeds_of(inputs, original):
    """Inputs by name, from an npz file or from a case's test_data_set_0."""
    inputs = pathlib.Path(inputs)
    if inputs.suffix == ".npz":
        return dict(np.load(inputs))
    graph_ = onnx.load(original, load_external_data=False).graph
    files = sorted(inputs.glob("input_*.pb"), key=lambda p: int(p.stem.split("_")[1]))
    given = [v for v in graph_.input if v.name not in {t.name for t in graph_.initializer}]
    if len(given) != len(files):
        given = list(graph_.input)
    return {v.name: load_value(f, v.type.WhichOneof("value")) for v, f in zip(given, files)}


def run(path, feeds, times=1):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    known = {i.name: i for i in session.get_inputs()}
    feeds = {k: v for k, v in feeds.items() if k in known}
    outputs = [o.type for o in session.get_outputs()]
    narrow = any(isinstance(v, np.ndarray) and v.dtype.isbuiltin != 1 for v in feeds.values())
    if not narrow and not any(PYTHON_HAS_NOT.search(t) for t in outputs):
        return [session.run(None, feeds) for _ in range(times)]
    values = {}
    for name, v in feeds.items():
        if v.dtype.isbuiltin != 1:  # bfloat16, float8, int4, ... of ml_dtypes
            values[name] = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(
                v, onnx.helper.np_dtype_to_tensor_dtype(v.dtype))
        else:
            values[name] = ort.OrtValue.ortvalue_from_numpy(v)
    return [[readable(v) for v in session.run_with_ort_values(None, values)] for _ in range(times)]


# Tensor types that NumPy has not, as ONNX Runtime writes them.
PYTHON_HAS_NOT = re.compile(r"bfloat16|float8|float4|int4|int2")


def readable(v):
    """A tensor as an array; one of a type that NumPy has not as (type, shape, bytes)."""
    if not PYTHON_HAS_NOT.search(v.data_type().lower()):
        return v.numpy()
    return {"type": v.data_type(), "shape": v.shape(),
            "bytes": ctypes.string_at(v.data_ptr(), v.tensor_size_in_bytes())}


def difference(a, b):
    """0.0 if equal to the bit, the relative difference, or infinity if type or shape differ."""
    if a is None or b is None:
        return 0.0 if a is b else float("inf")
    if isinstance(b, (list, tuple)):
        if not isinstance(a, (list, tuple)) or len(a) != len(b):
            return float("inf")
        return max([difference(x, y) for x, y in zip(a, b)], default=0.0)
    if isinstance(b, dict):
        return 0.0 if a == b else float("inf")
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype != b.dtype or a.shape != b.shape:
        return float("inf")
    if b.dtype.kind in "OSUb":
        return 0.0 if (a == b).all() else float("inf")
    if a.tobytes() == b.tobytes():
        return 0.0
    kind = complex if b.dtype.kind == "c" else float
    a, b = a.astype(kind), b.astype(kind)
    with np.errstate(invalid="ignore"):
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, np.abs(a - b))
    finite = np.abs(b[np.isfinite(b)])
    ratio = float(apart.max() / ((finite.max() if finite.size else 0) + 1e-30))
    return float("inf") if np.isnan(ratio) else ratio


def alike(a, b):
    """Same types and ranks, whatever the values."""
    if isinstance(b, (list, tuple)):
        return isinstance(a, (list, tuple)) and len(a) == len(b) and all(map(alike, a, b))
    if isinstance(b, dict):
        return isinstance(a, dict) and a.keys() == b.keys()
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape


def first_line(error):
    text = str(error).strip()
    return f"{type(error).__name__}: {' '.join(text.split())[:300]}"


# ---- one model ---------------------------------------------------------------------------------

def examine(job, stage):
    """{step: '' if passed, else what is wrong; None if it does not apply} and notes.

    stage(text) announces what comes next, so that a crash can be blamed on it.
    """
    result = dict.fromkeys(STEPS)
    source, target = pathlib.Path(job["model"]), pathlib.Path(job["target"])
    stage("convert")
    done = subprocess.run([job["convert"], str(source), str(target), "--level", "none"],
                          capture_output=True, text=True, timeout=job["timeout"], errors="replace")
    if done.returncode or not target.exists():
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        code = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        result["convert"] = f"{code}: {' '.join(lines[:2])[:400]}"
        return result
    result["convert"] = ""

    stage("checker")
    try:
        onnx.checker.check_model(str(source), full_check=False)
        accepted = True
    except Exception:
        accepted = False
    if accepted:
        try:
            onnx.checker.check_model(str(target), full_check=False)
            result["checker"] = ""
        except Exception as error:
            result["checker"] = first_line(error)

    stage("structure")
    try:
        found = []
        lost(model(onnx.load(str(source)), str(source.parent)),
             model(onnx.load(str(target)), str(target.parent)), "", found)
        result["structure"] = "; ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
    except Exception as error:
        result["structure"] = first_line(error)

    stage("run the original")
    try:
        feeds = feeds_of(job["inputs"], source)
        original, again = run(source, feeds, 2)
    except Exception as error:
        result["note"] = f"ONNX Runtime does not run the original: {first_line(error)}"
        return result
    stage("run")
    try:
        converted, = run(target, feeds)
    except Exception as error:
        result["run"] = f"ONNX Runtime does not run the converted model: {first_line(error)}"
        return result
    result["run"] = ""
    if difference(again, original):
        result["note"] = "random: types and shapes compared"
        if not alike(converted, original):
            result["run"] = "types or shapes of the outputs differ"
    else:
        worst = difference(converted, original)
        if worst > 1e-6:
            result["run"] = f"outputs differ by {worst:.1e} of the largest value"
        elif worst:
            result["note"] = f"outputs within {worst:.1e}"
    return result


def worker():
    """Reads jobs as lines of JSON, answers with lines of JSON. What libraries print goes to stderr."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(**message):
        print(json.dumps(message), file=out, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        try:
            result = examine(job, lambda text: say(stage=text))
        except subprocess.TimeoutExpired:
            result = dict.fromkeys(STEPS, None) | {"convert": f"no end after {job['timeout']} s"}
        except Exception as error:
            result = dict.fromkeys(STEPS, None) | {"convert": f"this script failed: {first_line(error)}"}
        say(result=result)


class Worker:
    """A process that examines models; started again when it crashes or hangs."""

    def __init__(self):
        self.process = None

    def start(self):
        self.process = subprocess.Popen([sys.executable, __file__, "--worker"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.lines = queue.Queue()
        lines, stdout = self.lines, self.process.stdout

        def read():
            for line in stdout:
                lines.put(json.loads(line))
            lines.put(None)
        threading.Thread(target=read, daemon=True).start()

    def examine(self, job):
        if self.process is None or self.process.poll() is not None:
            self.start()
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        passed = []
        while True:
            try:
                message = self.lines.get(timeout=job["timeout"] + 10)
            except queue.Empty:
                message = "hang"
            if isinstance(message, dict) and "result" in message:
                return message["result"]
            if isinstance(message, dict):
                passed.append(message["stage"])
                continue
            self.process.kill()
            code = self.process.wait()
            what = f"no end after {job['timeout']} s" if message == "hang" else f"crash (exit code {code})"
            result = dict.fromkeys(STEPS)
            # The steps before have passed or the reader would not know; only the last one is sure.
            step = passed[-1] if passed else "convert"
            if step == "run the original":
                result["convert"], result["note"] = "", f"ONNX Runtime does not run the original: {what}"
            else:
                result[step] = what
            return result

    def stop(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()


# ---- all of them -------------------------------------------------------------------------------

def jobs_of(args, folder):
    jobs = []
    if args.cases:
        for path in sorted(args.cases.glob("*/*/model.onnx")):
            jobs.append((path.parent.parent.name, path.parent.name, path, path.parent / "test_data_set_0"))
        if not jobs:
            raise SystemExit(f"{args.cases}: no SUITE/CASE/model.onnx in it; see the top of this script")
    if args.models or args.zoo or args.bundled:
        named = pairs(args.models, args.zoo) if args.models or args.bundled else pairs(["x"], args.zoo)[1:]
        if args.models and args.bundled:
            named += pairs([])
        jobs += [("models", name, path, inputs) for name, path, inputs in named]
    jobs = [j for j in jobs if args.only in f"{j[0]}/{j[1]}"]
    return [{"suite": suite, "name": name, "model": str(path), "inputs": str(inputs), "convert": args.convert,
             "target": str(folder / f"{suite}-{name}.onnx"), "timeout": args.timeout}
            for suite, name, path, inputs in jobs]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="?", type=pathlib.Path)
    parser.add_argument("--convert", required=True)
    parser.add_argument("--models", nargs="*", default=[])
    parser.add_argument("--zoo")
    parser.add_argument("--bundled", action="store_true")
    parser.add_argument("--only", default="", help="only models whose SUITE/NAME contains this")
    parser.add_argument("--notes", action="store_true", help="also print why models were not run")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=120, help="seconds a step")
    parser.add_argument("--keep", type=pathlib.Path, help="leave the converted models in this folder")
    args = parser.parse_args()
    args.convert = str(pathlib.Path(args.convert).resolve())
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or pathlib.Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        jobs = jobs_of(args, folder)
        idle, results = queue.Queue(), {}
        for _ in range(args.jobs):
            idle.put(Worker())

        def examine_one(job):
            taken = idle.get()
            try:
                results[job["suite"], job["name"]] = taken.examine(job)
            finally:
                idle.put(taken)
                if not args.keep:
                    pathlib.Path(job["target"]).unlink(missing_ok=True)
            if sys.stderr.isatty():
                print(f"\r{len(results)} of {len(jobs)}", end="", file=sys.stderr, flush=True)
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            list(pool.map(examine_one, jobs))
        while not idle.empty():
            idle.get().stop()
        if sys.stderr.isatty():
            print("\r", end="", file=sys.stderr)

    failures = []
    print(f"{'suite':20} {'models':>6} " + " ".join(f"{s:>12}" for s in STEPS)
          + f" {'not run':>8} {'random':>7} {'inexact':>8} {'all good':>9}")
    total = collections.Counter()
    for suite in list(dict.fromkeys(j["suite"] for j in jobs)) + ["total"]:
        rows = {k: r for k, r in results.items() if k[0] == suite}
        count = collections.Counter(models=len(rows))
        for (_, name), r in sorted(rows.items()):
            bad = [(s, r[s]) for s in STEPS if r[s]]
            failures += [(suite, name, step, what) for step, what in bad]
            count["all good"] += not bad
            for step in STEPS:
                count[step, "passed"] += r[step] == ""
                count[step, "of"] += r[step] is not None
            note = r.get("note", "")
            count["not run"] += note.startswith("ONNX Runtime does not")
            count["random"] += note.startswith("random")
            count["inexact"] += note.startswith("outputs within")
        total.update(count)
        count = total if suite == "total" else count
        steps = [f"{count[s, 'passed']}/{count[s, 'of']}" for s in STEPS]
        print(f"{suite:20} {count['models']:6} " + " ".join(f"{s:>12}" for s in steps)
              + f" {count['not run']:8} {count['random']:7} {count['inexact']:8} {count['all good']:9}")
    for (suite, name), r in sorted(results.items()):
        if "note" in r and (args.notes or r["note"].startswith("outputs within")):
            print(f"note: {suite}/{name}: {r['note']}")
    for suite, name, step, what in failures:
        print(f"FAILED: {suite}/{name}: {step}: {what}")
    names = {(suite, name) for suite, name, _, _ in failures}
    print(f"{len(results) - len(names)} of {len(results)} models survive ({time.monotonic() - start:.0f} s)")
    sys.exit(bool(names))


if __name__ == "__main__":
    if sys.argv[1:] == ["--worker"]:
        worker()
    else:
        main()
