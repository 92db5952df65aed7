"""ABC: a second head learns from a balanced part of each batch and makes the predictions."""
