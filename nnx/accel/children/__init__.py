"""On PYTHONPATH while nnx.accel is installed, so that Python processes it starts have it too."""
