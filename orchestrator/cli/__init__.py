"""What people type and what they see while it runs: commands, their exit codes, the live view.

May import every other room. Decides nothing about a run: it asks `engine` and `reports`, and leaves requests.
"""
