"""`python -m rlm_graph`: the same as the command `rlm-graph`."""

from rlm_graph.cli import main

if __name__ == "__main__":
    main()
