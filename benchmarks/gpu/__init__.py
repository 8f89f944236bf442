"""One command that checks and measures this trainer on a device within a given time, the most valuable part first."""
