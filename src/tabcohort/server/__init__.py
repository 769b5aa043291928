"""A model as a service: strict input, gathered predictions, a record of what was answered.

Everything here needs the extra `serve`, and nothing in it trains.
"""
