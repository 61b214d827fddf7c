"""Run a bundle's graph on an NVIDIA GPU, with ONNX Runtime's CUDA provider.

Each module has one task: ``driver`` finds devices, ``libraries`` loads the CUDA libraries, ``rewrite``
replaces operators that CUDA lacks, ``shapes`` finds nodes that only compute shapes, ``footprint`` limits the
size of a run, ``binding`` runs the graph, ``placement`` reports which provider ran each node, and ``opening``
combines them. ``opening``, and with it the ``onnx`` package, is imported only for a GPU.
"""
