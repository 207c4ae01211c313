import os

# Set before grpc is imported: pages say what is up and what is not; the C core's lines about it are no news.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
