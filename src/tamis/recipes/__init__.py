"""What the command line does, as plain functions of a configuration."""
