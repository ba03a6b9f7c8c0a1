"""The scenarios: the routes that are started, and the order of the loads on them."""
