"""How a plan runs. Rooms, each may import those that come after it: `cli`, `demo`, `reports`, `engine`, `phases` and
`services`, `dataplane`, `journal`. `sandbox` starts servers for demo and tests and knows no run. The files beside them
(`retry`, `clock`, `failpoints`, `logs`) are small things that all use.
"""
