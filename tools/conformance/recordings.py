"""Do we and ONNX Runtime agree over whole recordings, pictures and files?

usage: python tools/conformance/recordings.py --ours PATH/onnx-run [--tolerance 1e-4]
needs: pip install numpy pillow pyyaml onnxruntime

For every testdata/models/NAME/ the recipe's source is run whole, against testdata/make_expected.py's
second reading of the recipe with ONNX Runtime. A recording goes through `onnx-run run --recipe ...
--outputs`: each side cuts its windows itself and carries its own state from call to call. Pictures
and files go through `onnx-run run --inputs`, as two decoders of pictures may round a pixel
differently. After text detection every box that was found is cut out and given to the recipes of
text direction and recognition. Printed are, over all outputs of all runs, the largest |a - b|
divided by the largest |b| of that output; names, types and shapes must be equal. Exit code 1 if a
model differs by more than the tolerance or does not run.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime as ort
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "testdata"))

from make_expected import boxes, image_input, place_in, runs_of  # noqa: E402


def open_model(folder):
    """A bundled model's recipe and ONNX Runtime's session of it."""
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    options = ort.SessionOptions()
    options.log_severity_level = 3
    path = str(folder / recipe["model"])
    return recipe, ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def ours(program, arguments):
    """The outputs of `onnx-run run` with these arguments."""
    with tempfile.TemporaryDirectory() as scratch:
        to = str(pathlib.Path(scratch) / "out.npz")
        done = subprocess.run([program, "run", *map(str, arguments), "--outputs", to], capture_output=True, text=True,
                              errors="replace", cwd=scratch)
        if done.returncode:
            raise SystemExit(f"{arguments}: {done.stderr.strip()}")
        return dict(np.load(to))


def ours_on(program, folder, feeds):
    with tempfile.TemporaryDirectory() as scratch:
        np.savez(f"{scratch}/in.npz", **feeds)
        return ours(program, [folder / "model.onnx", "--inputs", f"{scratch}/in.npz"])


def difference(a, b):
    """The largest relative difference of outputs by name, or what is wrong."""
    if sorted(a) != sorted(b):
        return f"outputs {sorted(a)} instead of {sorted(b)}"
    worst = 0.0
    for name in b:
        if (a[name].dtype, a[name].shape) != (b[name].dtype, b[name].shape):
            return f"{name} is {a[name].dtype}{a[name].shape} instead of {b[name].dtype}{b[name].shape}"
        off = abs(a[name].astype(float) - b[name]).max() / (abs(b[name].astype(float)).max() + 1e-30)
        worst = max(worst, off if np.isfinite(off) else np.inf)
    return worst


def lines_of(folder, recipe, probability):
    """The upright rectangle around each box that detection finds: [x, y, width, height]."""
    show = next(entry["boxes"] for entry in recipe["show"] if "boxes" in entry)
    image = next(kind["image"] for kind in recipe["inputs"].values())
    for _, corners in boxes(probability, show, place_in(image, folder / recipe["source"])):
        low, high = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
        yield [*map(int, low), *map(int, high - low)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", required=True, type=pathlib.Path)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    args = parser.parse_args()
    program, models = args.ours.resolve(), ROOT / "testdata/models"
    bad = False

    def report(name, count, what, found):
        nonlocal bad
        failed = isinstance(found, str) or not found <= args.tolerance
        bad |= failed
        print(f"{name:22} {count:5} runs, {what:22} {found if isinstance(found, str) else f'{found:.1e}'}"
              f"{'  DIFFERS' if failed else ''}", flush=True)

    for folder in sorted(path.parent for path in models.glob("*/recipe.yaml")):
        recipe, session = open_model(folder)
        runs = list(runs_of(recipe, session, folder, folder / recipe["source"]))
        source = pathlib.Path(recipe["source"]).name
        if any("sound" in kind for kind in recipe["inputs"].values()):
            stacked = runs[0][1] if len(runs) == 1 else {k: np.stack([got[k] for _, got in runs]) for k in runs[0][1]}
            found = difference(ours(program, ["--recipe", folder / "recipe.yaml"]), stacked)
        else:
            found = difference(ours_on(program, folder, runs[0][0]), runs[0][1])
        report(folder.name, len(runs), source, found)
        if any("boxes" in show for show in recipe["show"]):
            lines = list(lines_of(folder, recipe, next(iter(runs[0][1].values()))))
            picture = folder / recipe["source"]
    for name in ("ppocr-cls", "ppocr-rec"):
        folder = models / name
        recipe, session = open_model(folder)
        (slot, kind), = recipe["inputs"].items()
        found = []
        for region in lines:
            feeds = {slot: image_input(kind["image"] | {"region": region}, picture)}
            theirs = dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds)))
            found.append(difference(ours_on(program, folder, feeds), theirs))
        wrong = [f for f in found if isinstance(f, str)]
        report(name, len(found), f"lines of {picture.name}", wrong[0] if wrong else max(found))
    sys.exit(bad)


if __name__ == "__main__":
    main()
