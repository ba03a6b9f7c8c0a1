"""Sessions on connections: links with their pace, and the choice of the link for the next user."""
