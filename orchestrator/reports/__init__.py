"""What people ask of a run: its status, what is kept aside, how keys are named, what a plan maps to. Reads only.

May import `engine` and the rooms below it. Knows no command and no terminal.
"""
