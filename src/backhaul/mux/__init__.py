"""Sessions on connections: reading, feeding and pacing a link, and which link gets the next user."""
