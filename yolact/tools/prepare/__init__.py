"""Bringing public data sets into COCO's format and layout."""
