"""The same scorer inside of other engines, and the same pieces on a cluster: no scheduler of our own."""
