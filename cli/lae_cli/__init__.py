"""The command line of LAE: ``lae``."""
