"""A process that has imported everything once, and forks one child for each stage.

`prime` is a client: it hands its command line, descriptors and environment to the server that
PRIME_RESIDENT names, and ends as the child ends. Without one, it runs the stage itself
(docs/decisions.md#fork-server).
"""
