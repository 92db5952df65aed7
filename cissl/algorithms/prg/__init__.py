"""PRG: pseudo-labels are guided by how predictions of the same image changed recently."""
