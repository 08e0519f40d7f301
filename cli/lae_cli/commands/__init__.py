"""One verb per module: parse, call one library function, return a result that is shown."""
