"""Files by name: a name appears when what it stands for is whole."""
