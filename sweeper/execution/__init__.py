"""Train the trials of a sweep on a Ray cluster; the only folder that imports Ray."""

import os

# Ray reads its authentication mode once, while it is imported: afterwards it could only start a cluster without
# authentication. A client with a token can also connect to a cluster that requires none.
os.environ["RAY_AUTH_MODE"] = "token"
