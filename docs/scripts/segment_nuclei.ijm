// Segments the nuclei of the open image with dsb2018 and shows them in the ROI Manager.
//
// For ImageJ and Fiji: Plugins, Macros, Run. Of an image with several channels, the channel that
// is shown is segmented; of a stack, the slice that is shown. The ROIs that are in the ROI Manager
// are removed first.

command = "dsb2018"; // or the full path, such as /home/me/dsb2018/.venv/bin/dsb2018
model = "nuclei"; // "fast" takes about half the time

macro "Segment nuclei" {
  if (nImages == 0) exit("Open an image first.");
  image = getImageID();
  folder = getDirectory("temp") + "dsb2018-" + d2s(getTime(), 0) + File.separator;
  File.makeDirectory(folder);
  results = folder + "results" + File.separator;
  run("Select None"); // a selection would crop the copy
  run("Duplicate...", "title=nuclei"); // the shown plane
  saveAs("Tiff", folder + "nuclei.tif");
  close();
  selectImage(image);
  showStatus("dsb2018 segments the nuclei...");
  message = exec(command, "predict", "--input", folder + "nuclei.tif", "--output", results,
    "--model", model, "--format", "rois");
  archive = results + "rois" + File.separator + "nuclei.zip";
  if (!File.exists(archive)) exit("dsb2018 found no nuclei, or failed:\n" + message);
  roiManager("reset");
  roiManager("open", archive);
  roiManager("show all without labels");
  showStatus(roiManager("count") + " nuclei");
  print("Measurements: " + results + "nuclei.csv");
}
