"""How fast nhttp is, against others: ``python -m benchmarks --help``, from the repository's root.

A *scenario* is a module of `benchmarks.scenarios`: a question, asked of several *peers*, one after
the other and round after round, so that whatever else the machine does falls on all of them alike.
Ratios within one run are what counts; the figures of two runs compare badly.

To add a peer, add an entry to `benchmarks.peers` (any program that prints ``port N`` when it is
ready), and its name to the scenarios that it is to take part in. To add a scenario, add its module
to `benchmarks.scenarios.SCENARIOS`.
"""
