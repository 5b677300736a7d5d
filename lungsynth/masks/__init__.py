"""From attention maps to masks: classes, coarse masks, refinements, networks, scores."""
