"""What is known of a run: records, the state that is their fold, what comes next, and the store that keeps them.

May import none of the other rooms. Knows no phase's work and no row of data.
"""
