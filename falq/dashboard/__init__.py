"""The dashboard: falq's own page at ``/``, rq-dashboard under ``/rq``, metrics at ``/metrics``."""
