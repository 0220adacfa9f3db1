"""Makers of hostile files, one module a kind; the payloads themselves are made when a test runs."""
