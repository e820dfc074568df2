"""`mapfs live`: what happens to the pages of a mount, as it happens, or as a trace recorded it.

`feed` reads events, in a thread, into `model`, which counts them and keeps a map of each file's pages (`pagemap`),
with no terminal in it; `picture` turns a map into cells; `app` and `panes` show it all, a few times a second.
"""
