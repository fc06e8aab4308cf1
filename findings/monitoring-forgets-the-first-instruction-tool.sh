#!/usr/bin/env bash
# Behaviour: a tool of sys.monitoring has INSTRUCTION events. A second tool asks for them, too. From
#            then on the first tool gets none for the functions that have run before.
#            sys.monitoring.restart_events() brings them back.
# Seen:      CPython 3.12.1, 3.13.0, 3.14.10.
# Source:    Python/instrumentation.c, add_per_instruction_tools().
set -euo pipefail
python=${1:-python3}
"$python" - <<'PYTHON'
import sys

monitoring = getattr(sys, "monitoring", None)
print("python", sys.version.split()[0])
if monitoring is None:
    raise SystemExit("give a Python of 3.12 or later: bash FILE /path/to/python3.13")
event, seen = monitoring.events.INSTRUCTION, {0: 0, 4: 0}


def function():
    return 1 + len("x")


def begin(tool):
    def count(code, _offset):
        if code is function.__code__:
            seen[tool] += 1

    monitoring.use_tool_id(tool, f"tool {tool}")
    monitoring.register_callback(tool, event, count)
    monitoring.set_events(tool, event)


def observed():
    seen.update({0: 0, 4: 0})
    function()
    return f"tool 0: {seen[0]}, tool 4: {seen[4]}"


begin(0)
print("one tool:            ", observed())
begin(4)
both = observed()
print("a second one began:  ", both)
monitoring.restart_events()
after = observed()
print("after restart_events:", after)
assert both.startswith("tool 0: 0,") and not both.endswith(" 0"), "it is otherwise here"
assert not after.startswith("tool 0: 0,")
PYTHON
