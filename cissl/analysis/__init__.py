"""From trial folders to tables, curves and reports, from records alone: loads neither torch nor ray."""
