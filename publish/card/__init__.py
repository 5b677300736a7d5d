"""Cards of datasets and models, and what stands beside them."""
