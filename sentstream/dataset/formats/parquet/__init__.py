"""Read Parquet from any writer in bounded memory, and write Parquet for any reader."""
