"""Synthetic acted speech with controlled delivery: what the bundled sample and the tiny judge learn from.

`speech` turns a text and a `Delivery` into sound; `espeak` is the door to libespeak-ng.
"""
