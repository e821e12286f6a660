"""`python -m safediffusion` is the command line."""

from safediffusion.cli.app import main

if __name__ == "__main__":
    main()
