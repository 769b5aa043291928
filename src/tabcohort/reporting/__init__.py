"""What people see: the terminal and the curves, made from the report's facts."""
