"""Declare the C core to cffi. CMake runs this through ``cffi.gen_src`` to get the C of the gate.

A header of WHOLE is its own declaration. For any other one, and for what a header takes from the
system, the declarations are text files beside the headers (``NAME.cdef.h`` for ``NAME.h``), never
Python strings. The generated module only includes our headers; CMake compiles the core into it.
"""

import re
import sysconfig
from pathlib import Path

from cffi import FFI

WHOLE = [
    "base/word.h",
    "process/parent_death.h",
    "queues/posix.h",
    "queues/sysv.h",
    "trace/trace.h",
]
"""Headers that cffi reads as they are: they have no code, and no directive of two lines."""

DIRECTIVE = re.compile(r"^#.*\n", re.MULTILINE)
"""A line of the preprocessor. cffi leaves comments out, and refuses these."""

here = Path(__file__).parent
extracts = sorted(here.rglob("*.cdef.h"))

ffibuilder = FFI()
for path in extracts:
    ffibuilder.cdef(path.read_text())
for name in WHOLE:
    ffibuilder.cdef(DIRECTIVE.sub("", (here / name).read_text()))
beside = {path.relative_to(here).as_posix().replace(".cdef.h", ".h") for path in extracts}
ffibuilder.set_source(
    "ipckit._core._ipk",
    "".join(f'#include "{header}"\n' for header in sorted(beside.union(WHOLE))),
    py_limited_api=not sysconfig.get_config_var("Py_GIL_DISABLED"),
)
