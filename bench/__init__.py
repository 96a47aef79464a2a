"""Measures the whole system on the machine where it runs: ``bin/bench``, explained in ``bench/README.md``."""
