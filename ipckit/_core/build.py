"""Declare the C core to cffi. CMake runs this through ``cffi.gen_src`` to get the C of the gate.

The declarations are text files beside the headers that they repeat (``NAME.cdef.h`` for
``NAME.h``), never Python strings. The generated module only includes our headers; CMake compiles
the core into it.
"""

from pathlib import Path

from cffi import FFI

here = Path(__file__).parent
declarations = sorted(here.rglob("*.cdef.h"))

ffibuilder = FFI()
for path in declarations:
    ffibuilder.cdef(path.read_text())
headers = [path.relative_to(here).as_posix().replace(".cdef.h", ".h") for path in declarations]
ffibuilder.set_source(
    "ipckit._core._ipk",
    "".join(f'#include "{header}"\n' for header in headers),
    py_limited_api=True,
)
