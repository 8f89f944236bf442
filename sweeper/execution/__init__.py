"""Train the trials of a sweep on a Ray cluster; the only folder that imports Ray."""

import os

# Ray reads its authentication mode once, while it is imported: afterwards it could only start a cluster without
# authentication. A client with a token can also connect to a cluster that requires none.
os.environ["RAY_AUTH_MODE"] = "token"
# Read at the same time. On SIGTERM Ray's handler in C++ would print a stack and end the process.
os.environ["RAY_DISABLE_FAILURE_SIGNAL_HANDLER"] = "1"
