"""Synthetic acted speech with controlled delivery: what the sample and the tiny judge hear.

`speech` turns a text and a `Delivery` into sound; `espeak` is the door to libespeak-ng.
"""
