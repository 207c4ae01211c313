import os

# The C core's own lines on stderr are for its developers. It heeds this only before it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
