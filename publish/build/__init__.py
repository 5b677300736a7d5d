"""Drawing a dataset: plan, workers, engines, and what is made of its shards."""
