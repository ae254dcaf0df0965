"""How fast nhttp is, against others: ``python -m benchmarks --help``, from the repository's root.

A *scenario* is a module of `benchmarks.scenarios`: questions (*cases*), asked of several *peers*,
one after the other and round after round, so that whatever else the machine does falls on all of
them alike. Ratios within one run are what counts; the figures of two runs compare badly. `floors`
says what is expected of nhttp.

To add a peer, write a program for it (see `benchmarks.programs` and `benchmarks.clients`) and add
it to `benchmarks.peers`. To add a scenario, add its module to `benchmarks.scenarios.SCENARIOS`, and
what is expected of it to `benchmarks.floors`.
"""
