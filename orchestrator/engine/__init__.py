"""What carries a run from its journal to its end: the loop, requests, outcomes, amendments, and the session around it.

May import `phases`, `services`, `dataplane` and `journal`. Knows no command, no report and no database driver.
"""
