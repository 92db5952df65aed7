"""SimMatch: views agree in their class and in what labeled images they resemble."""
