"""One study per file, each with ``run(lab) -> Outcome``, and what several of them share."""
