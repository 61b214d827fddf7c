"""Reports as standalone HTML pages: the shared building blocks, and the page of ``explain``.

The reports of training are in ``sentstream_train.report``.
"""
