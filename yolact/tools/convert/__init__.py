"""From other annotation formats to COCO's: a reader for each format, and one writer.

A reader turns a folder into a `Conversion`. What it cannot use it counts, and an image whose label is wrong is left out
with a sentence.
"""
