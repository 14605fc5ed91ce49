"""The stages of an iteration: one file each, read top to bottom; `prime <stage>` runs one."""
