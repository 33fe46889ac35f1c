"""Designing a plan: a source's profile, what it makes of it by stated rules, and the commented file.

`survey` reads; `streams`, `columns`, `scalars`, `keys`, `orders`, `indexes`, `references` and `discriminators` decide;
`writer` writes what they decided, with its figures; `record` keeps the figures beside the plan.
"""
