"""TRAS: a second head learns from the first one's logits, shifted towards rare classes, and makes the predictions."""
