"""The loads: the measurements on a route, and the services that answer them."""
