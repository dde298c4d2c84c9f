"""Runs a program's function tests and reports one value a test.

Reads {"mark", "source", and "name" with "calls", or "checks"} from standard input before the program is known to
anybody, and writes a line of the mark and JSON for each test passed or value returned. What the program prints goes
nowhere. The values are judged outside: equality here would be the program's own to define.
"""

import json
import os
import sys


def plain(value, depth=0):
    """A value as JSON has it: tuples as lists, keys as JSON writes them, and nothing that only looks like a number."""
    if depth > 200:
        raise ValueError("the value is nested too deeply")
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in list(value)]
    if isinstance(value, dict):
        return {key if type(key) is str else json.dumps(plain(key)): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        raise TypeError("a set has no order to compare")
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str(value)
    if kind.__module__ == "numpy" and hasattr(value, "tolist"):
        return plain(value.tolist(), depth + 1)
    raise TypeError("a value of type %s cannot be compared" % kind.__name__)


def main():
    task = json.loads(sys.stdin.buffer.read())
    mark = task.pop("mark")
    # Big numbers are reported whole.
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    # What we go on with after the program ran, whatever it makes of the names.
    write, encode, build, execute = os.write, json.JSONEncoder(ensure_ascii=True).encode, compile, exec
    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def report(value):
        left = (mark + encode(value) + "\n").encode()
        while left:
            left = left[write(out, left):]

    names = {"__name__": "program"}
    execute(build(task["source"], "program", "exec"), names)
    if "checks" in task:
        for check in task["checks"]:
            execute(build(check, "check", "exec"), names)
            report(True)
        return
    function = names.get(task["name"])
    if function is None and "Solution" in names:
        function = getattr(names["Solution"](), task["name"])
    if function is None:
        raise NameError("the program defines no %s" % task["name"])
    for arguments in task["calls"]:
        report(plain(function(*arguments)))


main()
