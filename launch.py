"""``python launch.py …`` in a checkout is the command ``dramaeval …``; see `dramaeval.cli`."""

from dramaeval.cli import main

if __name__ == "__main__":
    main()
