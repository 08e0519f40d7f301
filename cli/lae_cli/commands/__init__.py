"""One verb a module: parse, call one library function, show."""
