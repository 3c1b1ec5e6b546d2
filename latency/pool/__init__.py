"""Many phones, many models.

The service, which phone measures what, health, the cache, and phones of other hosts.
"""
