"""Checks ONNX's text syntax against the official parser and printer, over every model of a folder.

    python tools/conformance/text_agrees.py target/release/onnx-convert FOLDER [FOLDER ...]

For every .onnx file below the folders:

* fixed point: our text, read and printed again by us, is the same text;
* readable: where `onnx.parser` reads what `onnx.printer` prints, it reads our text too;
* the same words: our text without its notes (lines that begin with `#@`) is `onnx.printer`'s text (counted
  only, for ours keeps more where theirs loses something);
* nothing lost: the model that we read back from our text equals the original, tensors compared by value.

Exits with 1 if one of the first two or the last fails for any model. Needs the package `onnx` 1.23.
"""

import collections
import concurrent.futures
import pathlib
import subprocess
import sys
import tempfile

import onnx
import onnx.numpy_helper
import onnx.parser
import onnx.printer

TYPED = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "raw_data")


def canonical(message):
    """Brings what means the same into one form: tensors as raw data, no empty strings, no empty types."""
    for field, value in list(message.ListFields()):
        if field.message_type is not None:
            for inner in value if field.is_repeated else [value]:
                canonical(inner)
            if field.name == "type" and not field.is_repeated and not value.ByteSize():
                message.ClearField(field.name)
        elif not field.is_repeated and value == "" and message.DESCRIPTOR.name != "Dimension":
            message.ClearField(field.name)
    if message.DESCRIPTOR.name == "TensorProto" and message.data_location == onnx.TensorProto.DEFAULT:
        message.ClearField("data_location")
        if message.data_type != onnx.TensorProto.STRING:
            try:
                raw = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(message)).raw_data
            except (ValueError, TypeError, KeyError):
                return
            for name in TYPED:
                message.ClearField(name)
            message.raw_data = raw


def reads(text):
    try:
        onnx.parser.parse_model(text)
    except Exception as error:  # the parser raises several kinds
        return str(error)
    return None


def check(convert, path):
    model = onnx.load(path, load_external_data=False)
    with tempfile.TemporaryDirectory() as folder:
        first, back, second = (pathlib.Path(folder, name) for name in ("a.txt", "b.onnx", "c.txt"))
        for source, target in ((path, first), (first, back), (back, second)):
            done = subprocess.run([convert, source, target], capture_output=True, text=True)
            if done.returncode:
                return {"converts": False}, done.stderr.strip()
        text = first.read_bytes().decode()
        result = {"converts": True, "fixed point": first.read_bytes() == second.read_bytes()}
        try:
            official = onnx.printer.to_text(model)
            theirs = reads(official)
        except Exception as error:  # it raises several kinds
            official, theirs = None, str(error)
        ours = reads(text)
        result["onnx reads its own text"] = theirs is None
        result["onnx reads our text"] = ours is None
        result["readable where theirs is"] = ours is None or theirs is not None
        plain = "".join(
            line for line in text.splitlines(True) if not line.lstrip().startswith("#@")
        )
        result["the same words as onnx's"] = plain == official
        again = onnx.load(back, load_external_data=False)
        canonical(model)
        canonical(again)
        result["nothing lost"] = model.SerializeToString(deterministic=True) == again.SerializeToString(
            deterministic=True
        )
        return result, (ours or "")[:300]


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    convert = sys.argv[1]
    paths = sorted(path for folder in sys.argv[2:] for path in pathlib.Path(folder).rglob("*.onnx"))
    counts = collections.Counter()
    failed = False
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for path, (result, why) in zip(paths, pool.map(lambda path: check(convert, path), paths)):
            counts.update(name for name, good in result.items() if good)
            bad = [
                name
                for name in ("converts", "fixed point", "readable where theirs is", "nothing lost")
                if not result.get(name)
            ]
            if bad:
                failed = True
                print(f"{path}: not: {', '.join(bad)} {why}")
    for name, count in counts.items():
        print(f"{count:6} of {len(paths)}: {name}")
    sys.exit(failed or not paths)


if __name__ == "__main__":
    main()
