"""The tests. Importing this package lets the installed `tranship` win over the checkout's folder of that name.

Python and pytest put the checkout's root at the front of `sys.path`. The folder `tranship/` there is only one part of
the package (the others are mapped on installation), so the root has to come last: `tests` is still found there.
"""

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent

sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _ROOT]
sys.path.append(str(_ROOT))
