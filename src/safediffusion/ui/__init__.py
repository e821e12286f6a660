"""The page in the browser: `safediffusion ui`; it calls what the command line calls."""
