"""Results of several models as tables and plots."""
