"""The creator skill and the constant code of every skill's scripts, as data."""
