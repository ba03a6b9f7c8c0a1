"""The samples of a run, the targets for them, and the page and picture made of them."""
