"""PRG: pseudo-labels are guided by how the predictions of the same image changed lately."""
