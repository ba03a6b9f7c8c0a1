"""The API of administrators: one table of operations, served on the status socket and on the page's port."""
