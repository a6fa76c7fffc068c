"""Views of the ledger's numbers: reports and savings. Import from `reports.report` and `reports.savings`."""
