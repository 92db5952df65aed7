"""From trial folders to tables, curves and reports, from records alone: imports no torch, ray or cissl."""
