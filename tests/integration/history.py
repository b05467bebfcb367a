"""What one client wrote, as the states that each vbucket has been in: after a crash, a promotion or a rollback a
copy must be in one of them, and not before the last one that was known to be safe.
"""

import zlib


def vbucket_of(key, vbuckets):
    return (zlib.crc32(key.encode()) >> 16) & 0x7FFF & (vbuckets - 1)


class History:
    """The states that each vbucket has been in, and from which on one may come back."""

    def __init__(self, vbuckets):
        self.vbuckets = vbuckets
        self.reset([{} for _ in range(vbuckets)])

    def now(self, vbucket):
        return self.states[vbucket][-1]

    def write(self, key, value):
        """`value` None: deleted. Answers (vbucket, index of the new state)."""
        vbucket = vbucket_of(key, self.vbuckets)
        state = dict(self.now(vbucket))
        if value is None:
            state.pop(key, None)
        else:
            state[key] = value
        self.states[vbucket].append(state)
        return vbucket, len(self.states[vbucket]) - 1

    def is_safe(self, vbucket, index):
        """That state and what followed may come back, nothing before it."""
        self.floor[vbucket] = max(self.floor[vbucket], index)

    def reset(self, states):
        self.states = [[state] for state in states]
        self.floor = [0] * self.vbuckets

    def everything_is_durable(self):
        self.floor = [len(states) - 1 for states in self.states]

    def all_now(self):
        """Every key and value as last written."""
        return {key: value for states in self.states for key, value in states[-1].items()}

    def wrong(self, found):
        """What does not fit, as text, or None. `found`: one dict of keys and values for each vbucket."""
        for vbucket, state in enumerate(found):
            candidates = self.states[vbucket][self.floor[vbucket]:]
            if state not in candidates:
                return describe(vbucket, state, candidates)
        return None


def describe(vbucket, state, candidates):
    last = candidates[-1]
    keys = sorted(k for k in set(state) | set(last) if state.get(k) != last.get(k))
    shown = ", ".join(f"{k}: {str(state.get(k))[:12]} instead of {str(last.get(k))[:12]}" for k in keys[:8])
    return f"vbucket {vbucket} is in none of its {len(candidates)} possible states; against the last: {shown}"
