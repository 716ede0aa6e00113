"""Training a model on, with units that stay as they are."""
