"""A model as a service: strict input, batched predictions, and a log of them.

Everything here needs the extra `serve`, and nothing in it trains.
"""
