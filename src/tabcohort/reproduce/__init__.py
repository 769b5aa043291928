"""The reference documents' experiments, one file each: their claims beside what is measured, and their mistakes."""
