"""Change the batch: images, labels or both."""
