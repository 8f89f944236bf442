"""Networks of M members, and the only place that knows how members are computed together."""
