"""Controls: judges that do not hear the clip, or nothing but its prosody. One a file.

What a judge gains over them is what it owes to hearing.
"""
