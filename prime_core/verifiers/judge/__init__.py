"""Outcomes from a judge: a language model that compares a response with a reference.

prompts: what it is asked. replies: which of the two choices a reply names. endpoint: the server
that answers. judging: rows -> judgements, also by a model that the stage samples from itself
(judge.path), whose replies are handed in. A judge that fails says nothing: such a row has no
verdict, never the outcome 0. docs/verification.md#judge
"""
