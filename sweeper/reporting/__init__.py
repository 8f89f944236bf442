"""Results as people read them: tables, leaderboard, figures."""
