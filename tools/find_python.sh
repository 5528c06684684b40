#!/bin/sh
# Prints the first CPython of version 3.11 or newer that runs here, or nothing.
# Names are tried by running them, because a name on the PATH may be a shim without an interpreter behind it. What is
# printed is the interpreter behind a virtual environment, so that the project's own can be made anew from it.
code='import sys
if sys.version_info < (3, 11) or sys.implementation.name != "cpython":
    sys.exit(1)
print(getattr(sys, "_base_executable", sys.executable))'
for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
    if found=$("$name" -c "$code" 2>/dev/null) && [ -x "$found" ]; then
        printf '%s\n' "$found"
        exit 0
    fi
done
exit 0
