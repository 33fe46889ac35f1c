"""The cutover: phases of one group, with one approval and one lift (`rules.md` J).

As `fence: external` has it, for writers that the operator has stopped: tranship proves that nobody writes. The order:
1. `fence`: the source's routing record is fenced; past a marker no event of a migrated collection for the stated time.
2. `drain`: past a marker everything is applied.
3. `verify`: every key touched since the full reconcile, and every one on record as different, is compared
   (`final: touched`), or every row (`final: full`).
4. `seal`: in one transaction nothing is left to apply or to look at, and no batch can commit any more: so the switch
   can never be followed by a late change of the source (`rules.md` I5).
5. `switch`: past a marker nobody has written since; then the source's record is handed over: the pivot.
6. `open`: nothing has been written to the source since.
Until the pivot everything can be lifted; while writes still come the phases refuse, and nothing has happened.
"""
