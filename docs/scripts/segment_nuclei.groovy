// Segments the nuclei of the open image with dsb2018 and adds them as detections.
//
// For QuPath: Automate, Script editor. The whole image is segmented, slides too. Run it for a
// project to segment all of its images. The files must be of a format that dsb2018 reads. Delete
// the detections of an earlier run first. For an image with several channels, add "--channel",
// "DAPI" (its name or index) to the arguments.

def command = "dsb2018" // or the full path, such as /home/me/dsb2018/.venv/bin/dsb2018
def model = "nuclei" // "fast" takes about half the time

def server = getCurrentServer()
def image = new File(server.getURIs().iterator().next())
def folder = java.nio.file.Files.createTempDirectory("dsb2018").toFile()
def arguments = [command, "predict", "--input", image.path, "--output", folder.path,
                 "--model", model, "--format", "geojson"]
def calibration = server.getPixelCalibration()
if (calibration.hasPixelSizeMicrons())
    arguments += ["--pixel-size", calibration.getAveragedPixelSizeMicrons().toString()]

def output = new StringBuffer()
def process = arguments.execute()
process.waitForProcessOutput(output, output)
def files = new File(folder, "geojson").listFiles() ?: []
if (process.exitValue() != 0 || files.size() != 1)
    throw new RuntimeException("dsb2018 failed, or the file has several images:\n" + output)
importObjectsFromFile(files[0].path)
println getDetectionObjects().size() + " nuclei; measurements: " + new File(folder, "nuclei.csv")
