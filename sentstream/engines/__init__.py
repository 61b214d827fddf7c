"""The scorer inside other engines: in SQL and data frames, and on a cluster, with the engine's scheduler."""
