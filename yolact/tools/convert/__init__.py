"""From other annotation formats to COCO's: a reader for each format, and one writer.

A reader fills a `Conversion`: it lists jobs, and `collect` calls its function for each, which gives a `FoundImage` with
the objects that `Conversion.objects` makes of outlines and masks. What it cannot use it counts by `note`, and an image
whose label is wrong is left out with the sentence of the DatasetError that it raises.
"""
