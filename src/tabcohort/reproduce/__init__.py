"""The reference documents' experiments, one file each: their claims beside what is measured, and their mistakes.

`experiments` runs them by name; `findings` is what they return, and `runs` what they share.
"""
