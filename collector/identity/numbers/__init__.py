"""Numbers that others give: donations (ISBT 128), the Single European Code, GS1 keys, and what is refused.

Owns their forms and check characters. A number is normalised once, when it comes in; a wrong check
character is refused in words. Must not know what the numbers stand for here.
"""
