"""Delta and Iceberg tables: find the files, and the rows in them, of a snapshot."""
