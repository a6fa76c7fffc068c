"""What the ledger's numbers say: reports and savings. Import from `insight.report` and `insight.savings`."""
