"""Forms of input data: how images and their ground truth are stored. See `docs/own-data.md`."""

from dataclasses import replace
from pathlib import Path, PurePosixPath

from dsb2018.errors import InputError, UsageError
from dsb2018.io.results import is_results
from dsb2018.prepare.forms.coco import CocoForm
from dsb2018.prepare.forms.dsb import DsbForm
from dsb2018.prepare.forms.form import Form, FormOptions, SourceImage
from dsb2018.prepare.forms.paired import GeoJsonForm, LabelForm, PairedForm, RoiForm
from dsb2018.prepare.input_files import InputFiles, open_files

__all__ = ["FORMS", "Form", "FormOptions", "SourceImage", "open_form"]

#: The class of each value of `--form`, in the order in which the form of an input is recognized.
FORMS: dict[str, type[Form]] = {
    form.name: form for form in (DsbForm, CocoForm, LabelForm, RoiForm, GeoJsonForm)
}


def open_form(
    images: Path,
    truth: Path | None = None,
    name: str | None = None,
    options: FormOptions | None = None,
    output: Path | None = None,
) -> Form:
    """Opens input data.

    Args:
        images: a folder or zip archive, or a COCO JSON file beside its images.
        truth: a folder or zip archive of the ground truth, or a COCO JSON file; None: it is in
            `images`.
        name: key of `FORMS`; None: the form is recognized.
        options: how to understand the input; None: the defaults.
        output: a folder that is not part of the input, even if it lies in it.

    Raises:
        FileNotFoundError: a path does not exist.
        InputError: the form of the input cannot be recognized, or `truth` has files of several.
        UsageError: there is no form of this name, the input is the output, or the form has no
            categories.
    """
    if name is not None and name not in FORMS:
        raise UsageError(f"form {name!r}, expected one of {', '.join(FORMS)}")
    options = options or FormOptions()
    if truth is None and _is_json(images):
        options, images = replace(options, json_file=images), images.parent
    elif truth is not None and _is_json(truth):
        options, truth = replace(options, json_file=truth), None
    output = output and output.resolve()
    if output and output in (images.resolve(), truth and truth.resolve()):
        raise UsageError(f"{images}: the output folder is a folder of the input; choose another")
    files = open_files(images, output)
    truth_files = open_files(truth, output) if truth else files
    form = _choose(files, truth_files, options, name)
    if options.categories and not form.has_categories:
        raise UsageError(f"--category: input of the form {form.name!r} has no categories")
    return form


def _choose(
    files: InputFiles, truth_files: InputFiles, options: FormOptions, name: str | None
) -> Form:
    if name:
        return FORMS[name](files, truth_files, options)
    for form_class in FORMS.values():
        form = form_class(files, truth_files, options)
        if form.recognizes():
            if truth_files is not files:
                _check_kinds(form, truth_files)
            return form
    archives = [name for name in files.names if name.lower().endswith(".zip")]
    if archives:
        remedy = f"it contains archives; unpack it and pass one of {', '.join(archives)}"
        raise InputError(files.path, "no images in it", remedy)
    return LabelForm(files, truth_files, options)  # whose `list_images` says what is missing


def _check_kinds(form: Form, truth_files: InputFiles) -> None:
    """Checks that a folder of ground truth does not also contain outlines that would be ignored,
    such as the corrected ROIs of an image beside its label image."""
    if is_results(truth_files.path):
        raise InputError(
            truth_files.path,
            "this is a folder of results, with the nuclei in one or several formats",
            "name the folder of one format, such as its folder labels",
        )
    if not isinstance(form, PairedForm):
        return
    outlines = {*RoiForm.suffixes, ".geojson"} - set(form.suffixes)
    for name in truth_files.names:
        if PurePosixPath(name).suffix.lower() in outlines:
            raise InputError(
                truth_files.path,
                f"ground truth of several kinds: {form.name}, and {name}",
                f"keep files of one kind; `dsb2018 prepare` also takes --form {form.name}",
            )


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json" and path.is_file()
