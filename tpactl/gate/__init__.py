"""A report and a policy become a decision: ``gate.json``."""
