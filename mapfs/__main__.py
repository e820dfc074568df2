"""The console script: `mapfs` and `python -m mapfs`."""

from mapfs.commands import main

if __name__ == "__main__":
    main()
