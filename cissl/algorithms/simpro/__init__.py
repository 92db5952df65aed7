"""SimPro: the training estimates the class distributions of the labeled and the unlabeled images."""
