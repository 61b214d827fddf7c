"""The network: in Keras, as plain arrays, and as an ONNX graph."""
