"""What the ledger's numbers say: reports and savings. Import from `reports.report` and `reports.savings`."""
