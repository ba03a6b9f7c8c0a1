"""The loads: what is sent over a route and measured there, and the services that answer."""
