"""UDA: predictions on strong views follow sharpened ones on weak views; easy labeled rows wait (TSA)."""
