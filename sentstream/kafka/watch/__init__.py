"""Events of the consume loop and their listeners: health, metrics, drift."""
