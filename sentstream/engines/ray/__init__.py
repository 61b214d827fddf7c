"""Score on a Ray cluster. Ray is an optional extra, imported only when it is used."""
