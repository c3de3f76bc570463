"""The plugin for napari: `pip install "dsb2018[napari]"`, then Plugins, Segment nuclei.

`layer_images`, `segmentation` and `corrections` know neither Qt nor napari; the other modules
connect them with the viewer.
"""
