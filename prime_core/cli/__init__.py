"""The command line: words become calls; other rooms are imported only when called."""
