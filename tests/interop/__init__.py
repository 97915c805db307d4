"""Foreign Sparkplug peers, each in an environment of its own, against our ends."""
