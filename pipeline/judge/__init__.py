"""Judging: metrics, intervals, rules and charts, shared by `baseline`, `evaluate`, `gate` and `report`."""
