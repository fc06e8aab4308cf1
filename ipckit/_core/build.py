"""Declare the C core to cffi. CMake runs this through ``cffi.gen_src`` to get the C of the gate.

The declarations are text files beside this one (``*.cdef.h``, one for each ``ipk_*.h``), never
Python strings. The generated module only includes our headers; CMake compiles ``ipk_*.c`` into it.
"""

from pathlib import Path

from cffi import FFI

here = Path(__file__).parent
families = sorted(path.name.removesuffix(".cdef.h") for path in here.glob("*.cdef.h"))

ffibuilder = FFI()
for family in families:
    ffibuilder.cdef((here / f"{family}.cdef.h").read_text())
ffibuilder.set_source(
    "ipckit._core._ipk",
    "".join(f'#include "{family}.h"\n' for family in families),
    py_limited_api=True,
)
