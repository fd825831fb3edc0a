"""What makes a model learn: losses and optimizers."""
