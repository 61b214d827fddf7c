"""Score records with the model, in this process or in a separate one."""
