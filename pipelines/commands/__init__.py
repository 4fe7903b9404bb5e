"""One file a command; each imports what it needs when it runs, so that `--help` costs nothing and light installs work."""
