"""From measured costs to a day of all tweets and an archive: cores, hours, money, what saturates first."""
