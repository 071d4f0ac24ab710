"""From other annotation formats to COCO's: a reader for each format, and one writer.

`recognise` has the table of them. A reader fills a `Conversion`: it lists jobs, and `collect` calls its function for
each, which gives a `FoundImage` with the objects that `Conversion.objects` makes of outlines and masks. What it cannot
use it counts by `note`. A DatasetError says what is wrong: of a line or shape, read by `each`, it leaves that out
alone, else the image.
"""
