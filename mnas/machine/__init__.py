"""What this machine has for computing networks, and what stands in the way."""
