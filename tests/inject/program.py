"""The module that `ipckit run` serves: each process of the server imports it."""

from __future__ import annotations

import json
import os

from inject import app
from inject.library.page import Page

VARIABLE = "INJECT_PROGRAM"

server = app.make(Page(), **json.loads(os.environ[VARIABLE]))
