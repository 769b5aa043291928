"""Training as it happens: events of a run, their recording, and the page and the terminal that show them."""
