"""The generator: checkpoint, autoencoder, words, sampling, attention; other networks that know films."""
