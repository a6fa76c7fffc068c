"""Work beside the calls: the life of threads, forks, and failures that calls survive."""
