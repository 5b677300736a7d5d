"""Training: the autoencoder, the diffusion model, and what both share."""
