"""``python -m convfault``."""

from convfault.cli import main

if __name__ == "__main__":
    main()
