// Makes the nuclei of the open image editable: turns its detections into annotations.
//
// For QuPath, where only annotations can be edited: Automate, Script editor. Correct them, then
// choose File, Export objects as GeoJSON. Annotations that are not nuclei, such as the outline of
// the tissue, would be read as nuclei, so delete them before you export.

def nuclei = getDetectionObjects()
def annotations = nuclei.collect { PathObjects.createAnnotationObject(it.getROI()) }
clearDetections()
addObjects(annotations)
println annotations.size() + " annotations"
