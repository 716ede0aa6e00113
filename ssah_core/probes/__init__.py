"""What a model's hidden states say beside its replies."""
