"""Environments that answer a policy's texts with texts, by gymnasium's convention.

An environment is an object with two methods:

    reset(seed: int) -> (observation: str, info: dict)
    step(action: str) -> (observation: str, reward: float, terminated, truncated, info: dict)

info["is_action_valid"] False says that it could not take the action; without the key it could. From
one seed and the same actions it must give the same observations and rewards: verification plays the
actions of a response again.

`data.env.id` names what makes one, called with `data.env.kwargs`: FILE.py:NAME or
package.module:NAME of your own, or a name that gymnasium, GEM, reasoning-gym or TextWorldExpress
knows (loading.py). All of them run in processes of their own (process.py), bounded in time, memory
and number of processes: an environment that hangs or crashes costs its episode, not the job.
"""
