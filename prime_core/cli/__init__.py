"""The command line: words become calls; other rooms are imported when they are called."""
