"""The samples of a run, the targets they have to meet, and the page and picture made of them."""
