# Completion of mapfs for bash: click's own script, made by the mapfs that is installed, when it is first asked for.
eval "$(_MAPFS_COMPLETE=bash_source mapfs)"

_mapfs_completion_of_mounts() {
    _mapfs_completion "$@"
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]]; then
        compopt -o nospace # a file of the mount is to follow
    fi
}
complete -o nosort -F _mapfs_completion_of_mounts mapfs
