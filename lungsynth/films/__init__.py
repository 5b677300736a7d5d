"""Films as data: reading, framing, packing, outlines drawn by hand."""
