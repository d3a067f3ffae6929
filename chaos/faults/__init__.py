"""The kinds of faults. A new one is a class below here and a line in `chaos.faults.kinds`."""
