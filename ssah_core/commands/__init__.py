"""The commands of `python -m ssah_core`, one file each."""
