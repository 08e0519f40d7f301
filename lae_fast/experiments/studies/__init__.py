"""One study a file, each with ``run(lab) -> Outcome``, and what several of them share."""
