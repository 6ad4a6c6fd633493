"""How much memory do commands take for a model of 3 GB?

usage: python tools/convert/large.py FOLDER --convert PATH/onnx-convert [--matrices 48]     (needs: pip install numpy onnx; Linux)

Writes a chain of products with 64 MiB of weights each into FOLDER, weights outside, unless it is there, then runs optimize,
opset, extract and check on it. Prints the peak of resident memory that is not pages of files, and the time, of each;
exit code 1 where one fails or takes more than 300 MB.
"""
import argparse
import pathlib
import subprocess
import sys
import time

import numpy as np
import onnx
from onnx import TensorProto, helper

SIZE = 4096


def make(folder, count):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    base = (rng.standard_normal((SIZE, SIZE)) / 64).astype(np.float32)
    weights, nodes, value = [], [], "x"
    with open(folder / "large.data", "wb") as file:
        for i in range(count):
            data = (base + np.float32(i * 1e-6)).tobytes()
            tensor = TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT, dims=[SIZE, SIZE],
                                 data_location=TensorProto.EXTERNAL)
            for key, text in (("location", "large.data"), ("offset", file.tell()), ("length", len(data))):
                tensor.external_data.add(key=key, value=str(text))
            file.write(data)
            weights.append(tensor)
            for op, inputs in (("MatMul", [value, f"w{i}"]), ("Identity", [f"MatMul{i}"]), ("Relu", [f"Identity{i}"])):
                nodes.append(helper.make_node(op, inputs, [f"{op}{i}"], name=f"{op.lower()}_{i}"))
            value = f"Relu{i}"
    port = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", SIZE])
    graph = helper.make_graph(nodes, "large", [port("x")], [port(value)], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
              folder / "large.onnx")


def peak(command):
    """The exit code, the peak in MB of memory that is not of files, and the seconds of a command."""
    process, most, start = subprocess.Popen(command, stdout=subprocess.DEVNULL), 0, time.time()
    while process.poll() is None:
        try:
            lines = dict(line.split(":", 1) for line in open(f"/proc/{process.pid}/status"))
            most = max(most, sum(int(lines[key].split()[0]) for key in ("RssAnon", "RssShmem")))
        except (OSError, KeyError, ValueError):
            pass
        time.sleep(0.001)
    return process.returncode, most / 1024, time.time() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--convert", required=True)
    parser.add_argument("--matrices", type=int, default=48)
    args = parser.parse_args()
    model = args.folder / "large.onnx"
    if not model.exists():
        make(args.folder, args.matrices)
    out = args.folder / "out.onnx"
    bad = 0
    for command in (["check", model], ["optimize", model, out, "--level", "basic"], ["opset", model, out, "--to", "13"],
                    ["extract", model, out, "--from", "Relu5", "--to", "Relu40"]):
        code, most, seconds = peak([args.convert, *map(str, command)])
        bad += code != 0 or most > 300
        print(f"{command[0]:9} exit {code}, {most:6.1f} MB, {seconds:5.1f} s", flush=True)
        for file in args.folder.glob("out.onnx*"):
            file.unlink()
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
