"""Data sources shared by the tasks: COCO-format folders, image + index-mask folders, procedural images."""
