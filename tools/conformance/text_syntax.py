"""Is ONNX's text syntax printed and parsed right?

usage: python tools/conformance/text_syntax.py [CASES_DIR] --convert PATH/onnx-convert [--models MODEL ...]
           [--zoo DIR] [--bundled] [--only TEXT] [--jobs 2] [--extension .onnxtxt] [--largest MB]
needs: pip install numpy onnx

CASES_DIR, --models, --zoo, --bundled and --only name models as for round_trip.py. For each one:
  print   onnx-convert IN.onnx A.onnxtxt --level none must succeed;
  parse   onnx-convert A.onnxtxt B.onnx --level none must succeed;
  fixed   onnx-convert B.onnx C.onnxtxt --level none must give the text of A again;
  parser  onnx.parser must read A where it reads what onnx.printer prints for IN, and to a model
          with the same nodes, inputs and outputs.
Models over --largest megabytes (64) are left out and counted. Prints a table of counts and every
failure by name; exit code 1 if there is any.
"""
import argparse
import collections
import concurrent.futures
import pathlib
import subprocess
import sys
import tempfile

import onnx
import onnx.parser
import onnx.printer

from round_trip import first_line, jobs_of

STEPS = ("print", "parse", "fixed", "parser")


def convert(job, source, target):
    """'' or what is wrong."""
    try:
        done = subprocess.run([job["convert"], str(source), str(target), "--level", "none"], capture_output=True,
                              text=True, timeout=job["timeout"], errors="replace")
    except subprocess.TimeoutExpired:
        return f"no end after {job['timeout']} s"
    if done.returncode or not target.exists():
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        return f"exit code {done.returncode}: {' '.join(lines[:2])[:400]}"
    return ""


def outline(graph):
    """Operators with their inputs and outputs, and the graph's inputs and outputs."""
    def names(values):
        return [v.name for v in values]
    return (sorted(("" if n.domain == "ai.onnx" else n.domain, n.op_type, list(n.input), list(n.output)) for n in graph.node),
            names(graph.input), names(graph.output))


def first_difference(a, b):
    for number, (x, y) in enumerate(zip(a.splitlines(), b.splitlines()), 1):
        if x != y:
            at = next((i for i, (p, q) in enumerate(zip(x, y)) if p != q), min(len(x), len(y)))
            at = max(0, at - 20)
            return f"line {number}: {x[at:at + 60]!r} became {y[at:at + 60]!r}"
    return f"{len(a)} characters became {len(b)}"


def examine(job, extension):
    result = dict.fromkeys(STEPS)
    source = pathlib.Path(job["model"])
    with tempfile.TemporaryDirectory() as scratch:
        a, b, c = (pathlib.Path(scratch) / name for name in (f"a{extension}", "b.onnx", f"c{extension}"))
        result["print"] = convert(job, source, a)
        if result["print"]:
            return result
        result["parse"] = convert(job, a, b)
        text = a.read_text(encoding="utf-8")
        if not result["parse"]:
            result["fixed"] = convert(job, b, c)
            if not result["fixed"] and c.read_text(encoding="utf-8") != text:
                result["fixed"] = first_difference(text, c.read_text(encoding="utf-8"))
        model = onnx.load(str(source))
        try:
            theirs = onnx.parser.parse_model(onnx.printer.to_text(model))
        except Exception:
            return result
        try:
            ours = onnx.parser.parse_model(text)
            result["parser"] = ""
            # Where their own text does not give the model back, ours need not either.
            if outline(theirs.graph) == outline(model.graph) != outline(ours.graph):
                result["parser"] = "read, but as another graph"
        except Exception as error:
            result["parser"] = first_line(error)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="?", type=pathlib.Path)
    parser.add_argument("--convert", required=True)
    parser.add_argument("--models", nargs="*", default=[])
    parser.add_argument("--zoo")
    parser.add_argument("--bundled", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=120, help="seconds a step")
    parser.add_argument("--extension", default=".onnxtxt")
    parser.add_argument("--largest", type=float, default=64, help="megabytes")
    args = parser.parse_args()
    args.convert = str(pathlib.Path(args.convert).resolve())
    jobs = jobs_of(args, pathlib.Path())
    small = [j for j in jobs if pathlib.Path(j["model"]).stat().st_size <= args.largest * 2**20]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        def guarded(job):
            try:
                return examine(job, args.extension)
            except Exception as error:
                return dict.fromkeys(STEPS) | {"print": f"this script failed: {first_line(error)}"}
        results = list(zip(small, pool.map(guarded, small)))
    print(f"{'suite':20} {'models':>6} " + " ".join(f"{s:>10}" for s in STEPS) + f" {'all good':>9}")
    total, failed = collections.Counter(), []
    for suite in list(dict.fromkeys(j["suite"] for j in small)) + ["total"]:
        count = collections.Counter()
        for job, r in results:
            if job["suite"] == suite:
                bad = [s for s in STEPS if r[s]]
                failed += [f"FAILED: {suite}/{job['name']}: {s}: {r[s]}" for s in bad]
                count.update({"models": 1, "all good": not bad})
                for s in STEPS:
                    count.update({(s, "passed"): r[s] == "", (s, "of"): r[s] is not None})
        total.update(count)
        count = total if suite == "total" else count
        print(f"{suite:20} {count['models']:6} " + " ".join(f"{count[s, 'passed']}/{count[s, 'of']}".rjust(10)
                                                             for s in STEPS) + f" {count['all good']:9}")
    print("\n".join(failed) if failed else "no failures")
    if len(small) < len(jobs):
        print(f"left out, over {args.largest:g} MB: " + ", ".join(j["name"] for j in jobs if j not in small))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
