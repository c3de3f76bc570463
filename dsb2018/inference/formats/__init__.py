"""What can be written of an image's nuclei.

Each module writes one format: of a single image (`labels`, `geojson`, `dsb`, `overlay`, `crops`),
or a part of a file that all images share (`coco`, `kaggle`, `table`), which are joined at the end.
"""
