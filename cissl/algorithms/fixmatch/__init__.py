"""FixMatch: confident predictions on weak views are the labels of strong views."""
