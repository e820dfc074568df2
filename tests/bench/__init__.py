"""The benchmark behind scripts/bench and docs/BENCHMARKS.md: what a page demand costs, and what being watched adds.

`touch.c` is the client that touches pages and times it. `plan` says what is compared with what, `measure` runs
it in interleaved rounds, `mounts` and `processes` start and end what is needed on every way out, `results`
makes medians and ratios, `report` and `machine` say them. `views` measures the views of a long trace, which `traces`
makes up.
"""
