"""SAW: both losses are weighted by class, the unlabeled one by how often the model predicts each class."""
