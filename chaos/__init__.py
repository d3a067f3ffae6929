"""Break everything that can break while payments rain, and prove that none was lost and none paid twice: `make chaos`.

`python -m chaos --seed 7` does the same things again in the same order (docs/chaos.md).
"""
