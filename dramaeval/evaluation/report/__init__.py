"""Reports: the results of one run as a self-contained page, comparisons of runs, and leaderboards."""
