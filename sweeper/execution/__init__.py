"""How a sweep is trained: the only folder that imports Ray."""

import os

# Ray reads its authentication mode once, while it is imported: afterwards a cluster could only be started open. A
# client with a token also reaches a cluster that asks for none.
os.environ["RAY_AUTH_MODE"] = "token"
