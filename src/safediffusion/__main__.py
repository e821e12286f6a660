"""`python -m safediffusion` is the command line."""

from safediffusion.cli.entry import main

if __name__ == "__main__":
    main()
