"""Make input.npz and expected.npz of the bundled models.

usage: python testdata/make_expected.py [--check] [--show] [MODEL_FOLDER ...]
needs: pip install numpy pillow pyyaml onnxruntime        (made with onnxruntime 1.32, CPU)

For every testdata/models/NAME/ the recipe (see recipes.md) turns its source, a real picture,
sound or file, into the model's inputs. input.npz holds one run's inputs, expected.npz holds ONNX
Runtime's outputs for them, both by name. A recording is many runs: the one in its middle is kept,
with the state that the runs before it have left.

--check  write nothing; compare with the files that are there, exit 1 if something differs
--show   print what the recipe shows: labels, lines of text, segments of speech, boxes
"""
import argparse
import json
import pathlib
import re
import sys
import wave

import numpy as np
import onnxruntime as ort
import yaml
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
FILTERS = {"nearest": Image.NEAREST, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}


def half_up(x):
    return int(np.floor(x + 0.5))


def new_size(size, width, height):
    """The size in pixels that a picture of width x height gets."""
    if "exact" in size:
        width, height = size["exact"]
    else:
        scale = next((size[key] / side for key, side in
                      [("long_side", max(width, height)), ("short_side", min(width, height)),
                       ("width", width), ("height", height)] if key in size), 1.0)
        if scale > 1 and not size.get("enlarge", True):
            scale = 1.0
        width, height = max(1, half_up(width * scale)), max(1, half_up(height * scale))
    step = size.get("multiple_of", 1)
    width, height = (max(step, half_up(side / step) * step) for side in (width, height))
    return min(width, size.get("max_width", width)), min(height, size.get("max_height", height))


def image_input(spec, path):
    picture = Image.open(path).convert("RGB")
    if "region" in spec:
        x, y, w, h = spec["region"]
        picture = picture.crop((x, y, x + w, y + h))
    size = new_size(spec.get("size", {}), *picture.size)
    if size != picture.size:
        picture = picture.resize(size, FILTERS[spec.get("filter", "bilinear")])
    if "crop" in spec:
        w, h = spec["crop"]
        left, top = (picture.width - w) // 2, (picture.height - h) // 2
        picture = picture.crop((left, top, left + w, top + h))
    channels = spec.get("channels", "rgb")
    if channels == "gray":
        pixels = np.asarray(picture.convert("L"))[:, :, None]
    else:
        pixels = np.asarray(picture)[:, :, ::-1 if channels == "bgr" else 1]
    values = pixels.astype(np.float32) / np.float32(spec.get("scale", 1))
    values = (values - np.float32(spec.get("mean", 0))) / np.float32(spec.get("std", 1))
    if "pad" in spec:
        w, h = spec["pad"]["to"]
        values = np.pad(values, [(0, h - values.shape[0]), (0, w - values.shape[1]), (0, 0)],
                        constant_values=spec["pad"].get("value", 0))
    if spec.get("layout", "nchw") == "nchw":
        values = values.transpose(2, 0, 1)
    dtype = np.dtype(spec.get("dtype", "float32"))
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return np.ascontiguousarray(values[None].astype(dtype))


def bytes_input(spec, path):
    data = pathlib.Path(path).read_bytes()
    block = spec.get("block", len(data))
    begin, end = data[:block], data[max(0, len(data) - block):]
    if spec.get("strip", False):
        begin, end = begin.lstrip(b" \t\n\r\v\f"), end.rstrip(b" \t\n\r\v\f")
    first, last = spec.get("begin", 0), spec.get("end", 0)
    begin, end = list(begin[:first]), list(end[max(0, len(end) - last):])
    fill = spec.get("padding", 0)
    tokens = begin + [fill] * (first - len(begin)) + [fill] * (last - len(end)) + end
    return np.array([tokens], spec.get("dtype", "int32"))


def read_wav(path, rate):
    with wave.open(str(path)) as sound:
        if sound.getsampwidth() != 2 or sound.getframerate() != rate:
            raise SystemExit(f"{path}: 16 bits and {rate} Hz expected")
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
        samples = samples.reshape(-1, sound.getnchannels()).astype(np.float32) / np.float32(32768)
    return samples.mean(axis=1, dtype=np.float32)


def windows_of(spec, path):
    """All windows of a recording, each with the samples before it."""
    samples = read_wav(path, spec["rate"])
    window, before = spec["window"], spec.get("before", 0)
    hop = spec.get("hop", window)
    samples = np.concatenate([np.zeros(spec.get("lead", 0), np.float32), samples])
    count = max(1, -(-len(samples) // hop))
    padded = np.zeros(before + (count - 1) * hop + window, np.float32)
    padded[before:before + len(samples)] = samples[:len(padded) - before]
    windows = [padded[i * hop:i * hop + before + window] for i in range(count)]
    if spec.get("together", False):
        windows = [np.stack(windows)]
    return [w.reshape(spec.get("shape", [1, -1])).astype(spec.get("dtype", "float32")) for w in windows]


def runs_of(recipe, session, folder, source):
    """(inputs, outputs) of every run."""
    fixed, sounds, states = {}, {}, {}
    for name, kinds in recipe["inputs"].items():
        (kind, spec), = kinds.items()
        if kind == "image":
            fixed[name] = image_input(spec, source)
        elif kind == "bytes":
            fixed[name] = bytes_input(spec, source)
        elif kind == "sound":
            sounds[name] = windows_of(spec, source)
        elif kind == "constant":
            fixed[name] = np.full(spec.get("shape", []), spec["value"], spec.get("dtype", "float32"))
        elif kind == "state":
            fixed[name] = np.full(spec["shape"], spec.get("value", 0), spec.get("dtype", "float32"))
            states[name] = spec["next"]
        else:
            raise SystemExit(f"{folder}: input {name}: unknown kind {kind}")
    outputs = [o.name for o in session.get_outputs()]
    for index in range(max([len(w) for w in sounds.values()], default=1)):
        feeds = dict(fixed, **{name: w[index] for name, w in sounds.items()})
        got = dict(zip(outputs, session.run(None, feeds)))
        yield feeds, got
        fixed.update({name: got[output] for name, output in states.items()})


def labels_of(labels, folder, session):
    if isinstance(labels, list):
        return labels
    if "notes" in labels:
        names = "C C# D D# E F F# G G# A A# B".split()
        return [f"{names[n % 12]}{n // 12 - 1}" for n in range(labels["notes"], 128)]
    if "metadata" in labels:
        found = re.split("\r?\n", session.get_modelmeta().custom_metadata_map[labels["metadata"]])
        if found[-1] == "":
            found.pop()
    else:
        text = (folder / labels["file"]).read_text(encoding="utf-8")
        found = json.loads(text)[labels["key"]] if "key" in labels else text.splitlines()
    return labels.get("first", []) + found + labels.get("last", [])


def rows_of(results, recipe, show, source):
    """The output over the whole recording as (seconds of each row, rows x columns, seconds in all)."""
    sound = next(k["sound"] for k in recipe["inputs"].values() if "sound" in k)
    rate, hop, trim = sound["rate"], sound.get("hop", sound["window"]), show.get("trim", 0)
    times, parts = [], []
    for index, (_, got) in enumerate(results):
        value = got[show["output"]]
        if sound.get("together"):
            value = value.reshape(value.shape[0], -1)
            times.append(np.arange(len(value)) * hop)
        else:
            value = value.reshape(-1, value.shape[-1])
            value = value[trim:len(value) - trim]
            times.append(index * hop + np.arange(len(value)) * hop / len(value))
        parts.append(value)
    times, values, length = np.concatenate(times) / rate, np.concatenate(parts), len(read_wav(source, rate)) / rate
    return times[times < length], values[times < length], length


def segments(times, values, length, show):
    """Intervals (start, end, peak) in which values stay over the threshold."""
    step = times[1] - times[0] if len(times) > 1 else 0
    found = []
    for t, v in zip(times, values):
        if v > show["threshold"]:
            if found and t - found[-1][1] <= max(show.get("min_gap", 0), step / 2):
                found[-1][1], found[-1][2] = min(t + step, length), max(v, found[-1][2])
            else:
                found.append([t, min(t + step, length), v])
    return [f for f in found if f[1] - f[0] >= show.get("min_length", 0)]


def components(mask):
    """Pixels (y, x) of every 8-connected component."""
    left = set(zip(*(map(int, axis) for axis in np.nonzero(mask))))
    while left:
        seen, queue = [], [min(left)]
        left.discard(queue[0])
        while queue:
            y, x = queue.pop()
            seen.append((y, x))
            for near in ((y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
                if near in left:
                    left.discard(near)
                    queue.append(near)
        yield np.array(seen)


def smallest_rectangle(points):
    """Centre, half sides and unit directions of the smallest rectangle around points (x, y)."""
    points = sorted(set(map(tuple, points.tolist())))

    def chain(sequence):
        hull = []
        for p in sequence:
            while len(hull) > 1 and ((hull[-1][0] - hull[-2][0]) * (p[1] - hull[-2][1])
                                     - (hull[-1][1] - hull[-2][1]) * (p[0] - hull[-2][0])) <= 0:
                hull.pop()
            hull.append(p)
        return hull[:-1]
    hull = np.array(chain(points) + chain(points[::-1]), float)
    best = None
    for a, b in zip(hull, np.roll(hull, -1, 0)):
        u = (b - a) / np.linalg.norm(b - a)
        v = np.array([-u[1], u[0]])
        p, q = hull @ u, hull @ v
        area = (p.max() - p.min()) * (q.max() - q.min())
        if best is None or area < best[0] - 1e-9:
            best = (area, u, v, p.min(), p.max(), q.min(), q.max())
    _, u, v, p0, p1, q0, q1 = best
    return (p0 + p1) / 2 * u + (q0 + q1) / 2 * v, (p1 - p0) / 2, (q1 - q0) / 2, u, v


def boxes(probability, show, place):
    """(score, four corners in the source picture) of every component over the threshold."""
    probability = probability.reshape(probability.shape[-2:])
    found = []
    for pixels in components(probability > show["threshold"]):
        corners = np.concatenate([pixels[:, ::-1] + d for d in ((0, 0), (1, 0), (0, 1), (1, 1))])
        centre, a, b, u, v = smallest_rectangle(corners)
        score = float(probability[pixels[:, 0], pixels[:, 1]].mean())
        if 2 * min(a, b) < show.get("min_side", 3) or score < show.get("score", 0):
            continue
        d = 4 * a * b * show.get("grow", 0) / (4 * (a + b))
        a, b = a + d, b + d
        points = np.array([centre + s * a * u + t * b * v for s, t in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
        points = np.roll(points, -int(points.sum(axis=1).argmin()), axis=0)
        found.append((score, place(points, probability.shape)))
    return sorted(found, key=lambda f: (f[1][:, 1].min(), f[1][:, 0].min()))


def place_in(spec, path):
    """Maps points of a map over the model's picture to pixels of the source picture."""
    picture = Image.open(path)
    x, y, w, h = spec.get("region", [0, 0, *picture.size])

    def place(points, shape):
        points = points / [shape[1], shape[0]] * [w, h] + [x, y]
        return np.clip(points, 0, picture.size)
    return place


def display(recipe, results, session, folder, source):
    for entry in recipe.get("show", []):
        (kind, show), = entry.items()
        value = results[-1][1][show["output"]]
        print(f"  {kind} of {show['output']}:")
        if kind == "topk":
            row = value.reshape(-1)
            labels = labels_of(show["labels"], folder, session) if "labels" in show else range(len(row))
            for i in np.argsort(-row, kind="stable")[:show.get("k", 5)]:
                print(f"    {row[i]:.4f} {labels[i]}")
        elif kind == "text":
            labels = labels_of(show["labels"], folder, session)
            best = value.reshape(-1, value.shape[-1]).argmax(1)
            kept = [b for i, b in enumerate(best) if b != show.get("blank", 0) and (i == 0 or best[i - 1] != b)]
            print("    " + "".join(labels[b] for b in kept))
        elif kind == "segments":
            times, rows, length = rows_of(results, recipe, show, source)
            labels = labels_of(show["labels"], folder, session)
            for start, label, end, peak in sorted((s, labels[c], e, p) for c in range(rows.shape[1])
                                                  for s, e, p in segments(times, rows[:, c], length, show)):
                print(f"    {start:6.2f} s to {end:6.2f} s  {label}  {peak:.2f}")
        elif kind == "table":
            times, rows, length = rows_of(results, recipe, show, source)
            print(f"    {len(rows)} rows, first {times[0]:.3f} s {rows[0]}, last {times[-1]:.3f} s {rows[-1]}")
        elif kind == "boxes":
            image = next(k["image"] for k in recipe["inputs"].values() if "image" in k)
            for score, corners in boxes(value, show, place_in(image, source)):
                print(f"    {score:.2f} {np.rint(corners).astype(int).tolist()}")


def same(a, b, tolerance):
    return a.dtype == b.dtype and a.shape == b.shape and (
        a.size == 0 or abs(a.astype(float) - b).max() <= tolerance * (abs(b.astype(float)).max() + 1e-30))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--show", action="store_true")
    args = parser.parse_args()
    differ = False
    for folder in args.folders or sorted(p.parent for p in HERE.glob("models/*/recipe.yaml")):
        recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
        options = ort.SessionOptions()
        options.log_severity_level = 3
        session = ort.InferenceSession(str(folder / recipe["model"]), options, providers=["CPUExecutionProvider"])
        source = folder / recipe["source"]
        results = list(runs_of(recipe, session, folder, source))
        kept = results[len(results) // 2]
        state = "made"
        for file, values in zip(("input.npz", "expected.npz"), kept):
            if args.check:
                there = np.load(folder / file)
                # Another version of Pillow may round a pixel differently.
                tolerance = 0.01 if file == "input.npz" else 1e-3
                bad = sorted(set(there.files) ^ set(values)) + [
                    k for k in there.files if k in values and not same(values[k], there[k], tolerance)]
                state = f"DIFFERS: {file}: {bad}" if bad else state if "DIFFERS" in state else "the same"
                differ |= bool(bad)
            else:
                np.savez_compressed(folder / file, **values)
        print(f"{folder.name}: {len(results)} runs, {state}; "
              + ", ".join(f"{k} {v.dtype}{list(v.shape)}" for part in kept for k, v in part.items()))
        if args.show:
            display(recipe, results, session, folder, source)
    sys.exit(differ)


if __name__ == "__main__":
    main()
