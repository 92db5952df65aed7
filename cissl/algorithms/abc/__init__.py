"""ABC: a second head, trained on a randomly thinned and so balanced stream, makes the predictions."""
