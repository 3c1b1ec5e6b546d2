"""Search strategies that know nothing but decision sizes and rewards."""
