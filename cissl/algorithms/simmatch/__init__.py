"""SimMatch: two views agree in their class and in their similarities to labeled images."""
