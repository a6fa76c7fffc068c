"""What could be saved: one file for each group of findings, all from the same figures. Import from `optimizations.report`."""
