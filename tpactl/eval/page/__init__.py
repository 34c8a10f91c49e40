"""The report as one HTML file that needs nothing else: from ``report.json`` to ``report.html``."""
