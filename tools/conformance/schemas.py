"""Writes schemas.tsv: every schema of the ONNX standard, as the installed onnx package defines them.

usage: python tools/conformance/schemas.py [--check]
needs: pip install onnx==1.23.2

A line a schema: domain (ai.onnx for the default one), operator, version (the first opset of its
domain that it is in force in), and `live` or `deprecated`. Deprecated ones are listed because they
end the reign of the version before. Live are those of
onnx.defs.get_all_schemas_with_history() whose flag `deprecated` is not set: of 659 schemas in the
domains ai.onnx, ai.onnx.ml, ai.onnx.preview and ai.onnx.preview.training these are 654; the others
are Upsample-10, Scatter-11, GroupNormalization-18, TreeEnsembleClassifier-5 and
TreeEnsembleRegressor-5, which only say that an operator is to be used no longer.

--check  compares with the file instead of writing it; exit code 1 if it differs
"""
import argparse
import functools
import pathlib
import sys

from onnx import defs

FILE = pathlib.Path(__file__).with_name("schemas.tsv")


def schemas():
    """[(domain, operator, version, live)], sorted."""
    return sorted((s.domain or "ai.onnx", s.name, s.since_version, not s.deprecated)
                  for s in defs.get_all_schemas_with_history())


@functools.cache
def versions():
    """{(domain, operator): [(version, live)]}, versions rising."""
    found = {}
    for domain, name, version, live in schemas():
        found.setdefault((domain, name), []).append((version, live))
    return found


def imports(holder):
    """{domain: opset} of a model or a function."""
    return {o.domain or "ai.onnx": o.version for o in holder.opset_import}


def touched(model):
    """The live schemas {(domain, operator, version)} that nodes of a model refer to, in bodies and functions too."""
    found, known = set(), versions()

    def walk(nodes, opsets):
        for node in nodes:
            domain = node.domain or "ai.onnx"
            reached = [v for v in known.get((domain, node.op_type), []) if v[0] <= opsets.get(domain, 0)]
            if reached and reached[-1][1]:
                found.add((domain, node.op_type, reached[-1][0]))
            for attribute in node.attribute:
                for graph in [attribute.g, *attribute.graphs]:
                    walk(graph.node, opsets)
    walk(model.graph.node, imports(model))
    for function in model.functions:
        walk(function.node, imports(function))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    rows = schemas()
    text = "".join(f"{d}\t{n}\t{v}\t{'live' if live else 'deprecated'}\n" for d, n, v, live in rows)
    if args.check:
        sys.exit(FILE.read_text() != text)
    FILE.write_text(text)
    print(f"{len(rows)} schemas, {sum(live for *_, live in rows)} of them live")


if __name__ == "__main__":
    main()
