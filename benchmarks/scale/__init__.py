"""From measured costs to a day of all tweets and an archive: cores, hours, cost, and what saturates first."""
