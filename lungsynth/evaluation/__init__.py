"""How good samples are: fidelity, obedience to the prompt, distance to the training films."""
