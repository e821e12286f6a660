"""The report of a run: tables, plots, and one page that needs no other file."""
