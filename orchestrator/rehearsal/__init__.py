"""The dry run: a run of the same engine, phases and data path into shadow schemas, rolled back at its end.

`shadow` makes the plan of it, `phase` stands in the place of the cutover, `dryrun` carries it out, `leftovers` removes
what a killed one has left, and `report` says what was found.
"""
