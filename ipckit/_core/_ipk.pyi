from typing import Any

ffi: Any  # cffi's own types are made at run time; what C offers is in the *.cdef.h
lib: Any
