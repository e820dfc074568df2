"""An unchanged program, its directories seen through a mount: what `mapfs run` does.

A daemon mirrors the directories (`server`). A mount namespace of its own has each mirror bound over the directory that
it mirrors (`namespace`), and the program is started in it (`program`); nobody else sees anything of it. The daemon
stays outside, where the directories are what they were, so that no page of the mirror is needed to serve the mirror.
The mount has no name but in the namespace: the kernel ends it with the last process in there, whatever happens.
"""
