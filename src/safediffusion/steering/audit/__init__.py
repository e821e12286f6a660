"""The bias audit of a safety direction: whom and what it moves towards unsafe besides harm.

Two questions, each with its own statistics: does naming a group or a harmless context move a caption towards
unsafe (shift, false alarms), and does the steered target prefer another group than the prompt names (drift)?
"""
