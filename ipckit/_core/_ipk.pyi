from typing import Any

ffi: Any  # cffi's own types are made at run time; build.py says where what C offers is declared
lib: Any
