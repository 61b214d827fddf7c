"""Whether tweets are still as they were: what a model makes of them, counted, and how far that is apart."""
