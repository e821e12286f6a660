"""What a run amounted to, for people: tables, plots and one page that needs nothing beside it."""
