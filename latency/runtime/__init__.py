"""What is pushed to a phone so that it can time models."""

from latency.runtime.bundle import BundleFile, RuntimeBundle, prepare_android_bundle, prepare_bundle

__all__ = ["BundleFile", "RuntimeBundle", "prepare_android_bundle", "prepare_bundle"]
