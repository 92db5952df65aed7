"""UDA: predictions on strong views follow sharpened ones on weak views. With TSA, easy labeled rows wait."""
