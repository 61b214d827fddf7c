"""Reports for people: HTML pages that need no network, and what every page needs.

Those of training are in ``sentstream_train.report``.
"""
