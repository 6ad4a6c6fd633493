"""Writes engine/ops/src/constraints.tsv: which types each version of each standard operator takes.

usage: python tools/conformance/constraints.py > engine/ops/src/constraints.tsv     (needs: pip install onnx==1.23.2)

First the sets of types, one a line and numbered from 0; then, after an empty line, an operator a line: domain, name, version,
sets of its formal inputs, sets of its outputs. A trailing + says that the last parameter repeats.
"""
from onnx import defs

sets, rows = {}, []


def number(types):
    key = " ".join(sorted(types))
    return sets.setdefault(key, len(sets))


def params(formal):
    repeats = bool(formal) and formal[-1].option == defs.OpSchema.FormalParameterOption.Variadic
    return ",".join(str(number(p.types)) for p in formal) + ("+" if repeats else "")


for schema in sorted(defs.get_all_schemas_with_history(), key=lambda s: (s.domain, s.name, s.since_version)):
    if schema.domain in ("", "ai.onnx.ml") and not schema.deprecated:
        rows.append("\t".join([schema.domain, schema.name, str(schema.since_version), params(schema.inputs),
                               params(schema.outputs)]))
print("\n".join(sets))
print()
print("\n".join(rows))
