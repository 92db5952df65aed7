"""SAW: both losses are weighed by class, the unlabeled one by how often the model itself predicts each class."""
