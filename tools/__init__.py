"""Programs that make the binaries and data in this repository; not installed."""
