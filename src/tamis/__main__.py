"""`python -m tamis`, for torchrun."""

from tamis.cli import main

if __name__ == "__main__":
    main()
