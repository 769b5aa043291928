"""From a source to a table: typed columns, the schema, the statistics of columns, and the splits of its rows."""
