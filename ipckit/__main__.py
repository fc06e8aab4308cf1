"""`python -m ipckit`: the same as the command `ipckit`."""

import sys

from ipckit.cli import main

sys.exit(main())
