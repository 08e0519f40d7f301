"""Options, results and the opening of runs that several verbs share."""
