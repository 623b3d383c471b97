"""Training: stages as data, sources and mixing, objectives, the loop. Read `stage`, `data`, `objectives`, `loop`."""
