"""Damaged files for every reader: it reads them or says what is wrong, and never ends in another way."""
