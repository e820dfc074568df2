"""`mapfs bench`: a file's pages by a mapping, by read(2) and with read-ahead, directly and through mapfs.

`plan` says what is measured and what is held against what; `client` is the process that touches pages, `worker` its
other end; `bench` runs the plan in rounds; `results` makes medians, ratios and sentences; `chart` draws them.
"""
