"""Latency measurement: ONNX bytes in, a LatencyRecord out."""
