"""A lowered network as a MindSpore cell and as an ONNX graph, and its weights."""
