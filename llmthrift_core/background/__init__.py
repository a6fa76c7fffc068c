"""What goes on beside the calls: threads, of which this is the only place that starts one, forks, and failures that calls survive."""
