"""Do GreedySearch and BeamSearch find what ONNX Runtime finds?

usage: python tools/conformance/searches.py --ours PATH/onnx-run [--only TEXT] [--keep DIR]
needs: pip install numpy onnx onnxruntime

Makes small decoders of GPT-2's form with random weights (embeddings, attention with a past, projections) around
which the two operators of com.microsoft search, over several seeds, beams, penalties, run lengths, masks and ends.
Each runs in ONNX Runtime and as `onnx-run run`, optimized; sequences must be equal and scores within 1e-4.
Prints a line for each; exit code 1 if one differs.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

HEADS, SIZE, LAYERS, VOCABULARY, POSITIONS = 2, 4, 2, 23, 40
WIDTH = HEADS * SIZE


def decoder(seed, temperature):
    """A graph: input_ids, position_ids, attention_mask, past_i -> logits, present_i."""
    random = np.random.default_rng(seed)
    nodes, weights = [], []

    def weight(name, *shape):
        weights.append(numpy_helper.from_array((random.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32), name))
        return name

    def constant(name, value):
        weights.append(numpy_helper.from_array(np.array(value), name))
        return name

    def node(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output] if isinstance(output, str) else output, **attributes))
        return output

    node("Gather", [weight("wte", VOCABULARY, WIDTH), "input_ids"], "tokens")
    node("Gather", [weight("wpe", POSITIONS, WIDTH), "position_ids"], "places")
    x = node("Add", ["tokens", "places"], "x")
    constant("one", np.float32(1))
    constant("big", np.float32(-1e4))
    constant("scale", np.float32(SIZE ** -0.5))
    constant("heads", np.array([0, 0, HEADS, SIZE], np.int64))
    constant("merged", np.array([0, 0, WIDTH], np.int64))
    constant("axes12", np.array([1, 2], np.int64))
    constant("axis0", np.array([0], np.int64))
    node("Cast", ["attention_mask"], "mask_f", to=TensorProto.FLOAT)
    node("Sub", ["one", "mask_f"], "hidden")
    node("Mul", ["hidden", "big"], "barred2")
    node("Unsqueeze", ["barred2", "axes12"], "barred")
    # The first pass sees several tokens at once: each only those before it.
    node("Shape", ["input_ids"], "n", start=1, end=2)
    node("Shape", ["attention_mask"], "m", start=1, end=2)
    node("Sub", ["m", "n"], "past_length")
    node("Concat", ["n", "m"], "square", axis=0)
    node("ConstantOfShape", ["square"], "ones_nm", value=helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0]))
    constant("one_i", np.int64(1))
    node("Squeeze", ["past_length", "axis0"], "past_scalar")
    node("Add", ["past_scalar", "one_i"], "diagonal")
    node("Trilu", ["ones_nm", "diagonal"], "future", upper=1)
    node("Mul", ["future", "big"], "causal")
    for layer in range(LAYERS):
        at = f"l{layer}_"
        node("MatMul", [x, weight(at + "qkv", WIDTH, 3 * WIDTH)], at + "all")
        node("Split", [at + "all"], [at + "q0", at + "k0", at + "v0"], axis=2, num_outputs=3)
        for part in "qkv":
            node("Reshape", [at + part + "0", "heads"], at + part + "1")
            node("Transpose", [at + part + "1"], at + part + "2", perm=[0, 2, 1, 3])
        node("Split", [f"past_{layer}"], [at + "pk1", at + "pv1"], axis=0, num_outputs=2)
        for part in "kv":
            node("Squeeze", [at + "p" + part + "1", "axis0"], at + "p" + part)
            node("Concat", [at + "p" + part, at + part + "2"], at + part, axis=2)
            node("Unsqueeze", [at + part, "axis0"], at + part + "3")
        node("Concat", [at + "k3", at + "v3"], f"present_{layer}", axis=0)
        node("Transpose", [at + "k"], at + "kt", perm=[0, 1, 3, 2])
        node("MatMul", [at + "q2", at + "kt"], at + "s0")
        node("Mul", [at + "s0", "scale"], at + "s1")
        node("Add", [at + "s1", "barred"], at + "s2")
        node("Add", [at + "s2", "causal"], at + "s3")
        node("Softmax", [at + "s3"], at + "p", axis=-1)
        node("MatMul", [at + "p", at + "v"], at + "o0")
        node("Transpose", [at + "o0"], at + "o1", perm=[0, 2, 1, 3])
        node("Reshape", [at + "o1", "merged"], at + "o2")
        node("MatMul", [at + "o2", weight(at + "out", WIDTH, WIDTH)], at + "o3")
        node("Tanh", [at + "o3"], at + "o4")
        x = node("Add", [x, at + "o4"], at + "x")
    node("MatMul", [x, weight("head", WIDTH, VOCABULARY)], "cold")
    constant("temperature", np.float32(temperature))
    node("Mul", ["cold", "temperature"], "logits")
    ids = [helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", length]) for name, length in
           (("input_ids", "length"), ("position_ids", "length"), ("attention_mask", "all"))]
    past = [helper.make_tensor_value_info(f"past_{i}", TensorProto.FLOAT, [2, "batch", HEADS, "past", SIZE])
            for i in range(LAYERS)]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "length", VOCABULARY])]
    outputs += [helper.make_tensor_value_info(f"present_{i}", TensorProto.FLOAT, [2, "batch", HEADS, "all", SIZE])
                for i in range(LAYERS)]
    return helper.make_graph(nodes, "decoder", ids + past, outputs, weights)


def model(op, names, outputs, seed, temperature, **attributes):
    types = {"repetition_penalty": TensorProto.FLOAT, "length_penalty": TensorProto.FLOAT}
    shapes = {"input_ids": ["batch", "length"], "attention_mask": ["batch", "length"], "vocab_mask": [VOCABULARY],
              "prefix_vocab_mask": ["batch", VOCABULARY]}
    node = helper.make_node(op, names, outputs, domain="com.microsoft", decoder=decoder(seed, temperature),
                            **attributes)
    inputs = [helper.make_tensor_value_info(name, types.get(name, TensorProto.INT32), shapes.get(name, [1]))
              for name in names if name]
    kinds = {"sequences": (TensorProto.INT32, 2 if op == "GreedySearch" else 3), "sequences_scores": (1, 2),
             "scores": (1, 4)}
    results = [helper.make_tensor_value_info(name, kinds[name][0], [None] * kinds[name][1]) for name in outputs]
    graph = helper.make_graph([node], "search", inputs, results)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18),
                                                                helper.make_opsetid("com.microsoft", 1)])


def cases():
    """(name, model, inputs)"""
    def one(value, kind=np.int32):
        return np.array([value], kind)

    for seed in range(6):
        random = np.random.default_rng(100 + seed)
        batch, length = 1 + seed % 3, 2 + seed % 4
        ids = random.integers(2, VOCABULARY, (batch, length)).astype(np.int32)
        if seed % 2 and length > 2:
            ids[0, :1] = 0
        mask = (ids != 0).astype(np.int32)
        vocab = (random.random(VOCABULARY) > 0.2).astype(np.int32)
        vocab[1] = 1
        prefix = (random.random((batch, VOCABULARY)) > 0.3).astype(np.int32)
        prefix[:, 5] = 1
        wishes = {"plain": {}, "repetition": {"repetition_penalty": one(1.3, np.float32)},
                  "least": {"min_length": one(length + 4)}, "vocabulary": {"vocab_mask": vocab},
                  "prefix": {"prefix_vocab_mask": prefix}, "mask": {"attention_mask": mask},
                  "all": {"repetition_penalty": one(0.8, np.float32), "min_length": one(length + 3),
                          "vocab_mask": vocab, "prefix_vocab_mask": prefix, "attention_mask": mask}}
        for what, given in wishes.items():
            ngram = seed % 4 if what in ("plain", "all") else 0
            temperature = (1.0, 3.0)[seed % 2]
            base = {"input_ids": ids, "max_length": one(length + 9)}
            names = ["input_ids", "max_length", "min_length", "repetition_penalty", "vocab_mask",
                     "prefix_vocab_mask", "attention_mask"]
            feeds = base | given
            yield (f"GreedySearch {what} {seed}",
                   model("GreedySearch", [n if n in feeds else "" for n in names], ["sequences"], seed, temperature,
                         eos_token_id=1, pad_token_id=0, no_repeat_ngram_size=ngram), feeds)
            for beams in (1, 2, 4):
                names = ["input_ids", "max_length", "min_length", "num_beams", "num_return_sequences",
                         "length_penalty", "repetition_penalty", "vocab_mask", "prefix_vocab_mask", "attention_mask"]
                # ONNX Runtime refuses to run without min_length.
                feeds = base | {"min_length": one(0)} | given | {"num_beams": one(beams), "num_return_sequences": one(max(1, beams - 1)),
                                        "length_penalty": one((1.0, 0.5, 2.0)[seed % 3], np.float32)}
                if what == "plain" and seed < 2:
                    del feeds["length_penalty"]
                # Without early stopping ONNX Runtime holds a row's worst sequence against the sums of other rows.
                outputs = ["sequences", "sequences_scores", "scores"][:1 + (seed + beams) % 3]
                yield (f"BeamSearch {what} {seed} of {beams}",
                       model("BeamSearch", [n if n in feeds else "" for n in names], outputs, seed, temperature,
                             eos_token_id=1, pad_token_id=0, no_repeat_ngram_size=ngram,
                             early_stopping=int(seed % 2 or batch > 1), model_type=0), feeds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", required=True, type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--keep", type=pathlib.Path)
    args = parser.parse_args()
    bad = count = refused = 0
    for name, made, feeds in cases():
        if args.only not in name:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = args.keep / name.replace(" ", "_") if args.keep else pathlib.Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            onnx.save(made, folder / "model.onnx")
            np.savez(folder / "in.npz", **feeds)
            options = ort.SessionOptions()
            options.log_severity_level = 4
            try:
                session = ort.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
                outputs = [o.name for o in session.get_outputs()]
                theirs = dict(zip(outputs, session.run(None, feeds)))
            except Exception as error:
                refused += 1
                why = " ".join(str(error).split())
                print(f"{name:40} ONNX Runtime: {why[-200:]}")
                continue
            np.savez(folder / "theirs.npz", **theirs)
            done = subprocess.run([args.ours.resolve(), "run", folder / "model.onnx", "--inputs", folder / "in.npz",
                                   "--outputs", folder / "ours.npz"], capture_output=True, text=True)
            why = done.stderr.strip()[:400]
            if not done.returncode:
                ours = dict(np.load(folder / "ours.npz"))
                for key, b in theirs.items():
                    a = ours[key]
                    same = a.shape == b.shape and a.dtype == b.dtype
                    if not same or not np.allclose(a, b, 1e-4, 1e-4):
                        why += f"{key} {a.dtype}{a.shape} {a.reshape(-1)[:40]} instead of {b.shape} {b.reshape(-1)[:40]} "
            count += 1
            bad += bool(why)
            if why:
                print(f"{name:40} {why}")
    print(f"{count - bad} of {count} agree; ONNX Runtime refused {refused}")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
