"""How connections come in on the public end, and what strangers get to see."""
