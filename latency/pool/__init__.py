"""Many phones, many models: the service, who measures what, health, the cache, phones of other hosts."""
