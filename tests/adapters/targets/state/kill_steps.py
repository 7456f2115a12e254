"""A program that dies before or after the call whose number is its last word; `step` makes a call one that counts."""

STEPPING = """
import os, sys
from pathlib import Path
calls, at = 0, int(sys.argv[-1])
def step(real):
    def counted(*words, **named):
        global calls
        calls += 1
        if calls == at:
            os._exit(9)
        done = real(*words, **named)
        calls += 1
        if calls == at:
            os._exit(9)
        return done
    return counted
"""
