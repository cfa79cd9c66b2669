#!/usr/bin/env python3
"""Finds names of metrics in files that no gateway has. names.py METRICS SOURCE FILE...

METRICS is what /metrics said; SOURCE the folder of the program's source, for families that have counted nothing yet."""

import pathlib
import re
import sys

told, source, *files = sys.argv[1:]
text = pathlib.Path(told).read_text(encoding="utf-8")
there = set(re.findall(r"^(mcp_gateway_\w+)", text, re.MULTILINE))
described = set(re.findall(r"^# TYPE (mcp_gateway_\w+)", text, re.MULTILINE))

# r.register("name", …, self.field.clone()), and with a unit.
code = "".join(path.read_text(encoding="utf-8") for path in pathlib.Path(source, "metrics").rglob("*.rs"))
code += pathlib.Path(source, "metrics.rs").read_text(encoding="utf-8")
fields = dict(re.findall(r"^    (?:pub\(crate\) )?(\w+): ((?:Family|Counter|Gauge|Seconds)\b.*),$", code, re.MULTILINE))
for name, unit, field in re.findall(r'\.register(?:_with_unit)?\(\s*"(\w+)",\s*"[^"]*",\s*(?:Unit::(\w+),\s*)?self\.(\w+)', code):
    kind = fields.get(field, "")
    full = f"mcp_gateway_{name}" + (f"_{unit.lower()}" if unit else "")
    there.add(full + ("_total" if "Counter" in kind else ""))
    there |= {f"{full}_{end}" for end in ("bucket", "sum", "count")} if "Seconds" in kind else set()

faults = 0
count = 0
used = set()
for file in files:
    for name in sorted(set(re.findall(r"\bmcp_gateway_\w+", pathlib.Path(file).read_text(encoding="utf-8")))):
        count += 1
        used.add(name)
        if name not in there:
            faults += 1
            print(f"{file}: no gateway has {name}")
unseen = sorted(name for name in used if not re.search(rf"^{name}\b", text, re.MULTILINE))
print(f"NOTE: {len(used)} names, {len(used) - len(unseen)} of them with a sample")
print("without a sample:", *unseen)
unused = sorted(name for name in described if not any(used_name.startswith(name) for used_name in used))
print("in no file:", *unused)
sys.exit(1 if faults else 0)
