"""What a dataset is on disk: settings, schema, rows, shards, manifest."""
