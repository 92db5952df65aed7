"""SimPro: the class distributions of labeled and of unlabeled images are estimated while the network is trained."""
