# Completion of mapfs for fish: click's own script, made by the mapfs that is installed.
_MAPFS_COMPLETE=fish_source mapfs | source
