"""Checks of what servers cannot say by themselves: one file each, and each gives findings.

What one server alone can say, its connector finds (`connectors/mongodb/source.py`,
`connectors/postgresql/preflight.py`).
"""
