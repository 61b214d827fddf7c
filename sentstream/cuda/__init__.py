"""A bundle's graph on an NVIDIA GPU, by ONNX Runtime's CUDA provider.

Each module has one part: ``driver`` finds devices, ``libraries`` loads those of CUDA, ``rewrite`` gives the
graph operators that CUDA has, ``footprint`` says how large a run may be, ``binding`` runs it, ``placement``
tells what ran where, and ``opening`` puts them together. Only that one brings in the ``onnx`` package, so
nothing here weighs on a session on the CPU.
"""
