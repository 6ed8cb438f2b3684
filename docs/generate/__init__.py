"""Makes pages and pictures of the documentation."""
