"""From other annotation formats to COCO's: one reader for each format, and one writer.

A reader turns a folder into a `Conversion`; what it cannot use it counts, and a picture whose label is wrong is left
out with a sentence. `writing` puts a conversion into the output folder, and `summary` says what became of it.
"""
