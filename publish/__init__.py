"""Building synthetic datasets: prompts -> rows -> Parquet shards -> manifest and card."""
