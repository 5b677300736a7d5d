"""Trust: how good a mask is likely to be, as a predicted IoU, without the truth."""
