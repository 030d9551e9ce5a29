"""What every model is made of: `Classifier`, `Step`, stages, scores, weights, exact resume."""
