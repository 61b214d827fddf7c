"""File storage, local and remote: a name appears only when the file is complete."""
