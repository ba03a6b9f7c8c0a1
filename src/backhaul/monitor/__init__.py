"""What an administrator watches: counters, web page, metrics."""
