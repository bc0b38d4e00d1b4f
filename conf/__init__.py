"""The edge: the configuration groups, how a configuration becomes a run, and the command."""
