"use strict";
// The gallery. All text from the data is inserted as text, never as HTML.
const datasets = JSON.parse(document.getElementById("data").textContent);
const KINDS = ["missed", "false", "split", "merged"];
const LAYERS = ["truth", "found", "mistakes"];
const format = (value) => (value === null ? "–" : value.toFixed(1));

const ORDERS = {
  worst: (a, b, first) => (a.by[first].mAP ?? 101) - (b.by[first].mAP ?? 101),
  best: (a, b, first) => (b.by[first].mAP ?? -1) - (a.by[first].mAP ?? -1),
  pixels: (a, b, first) => (a.by[first].IoU ?? 101) - (b.by[first].IoU ?? 101),
  gap: (a, b, first, second) => gap(b, first, second) - gap(a, first, second),
  crowded: (a, b, first) => b.by[first].true - a.by[first].true,
  name: (a, b) => (a.name < b.name ? -1 : 1),
};
function gap(image, first, second) {
  return second < 0 ? 0 : (image.by[second].mAP ?? 0) - (image.by[first].mAP ?? 0);
}

function createLayer(kind, source, alt) {
  const picture = document.createElement("img");
  picture.className = kind;
  picture.loading = "lazy";
  picture.src = source;
  picture.alt = alt;
  return picture;
}

function createView(dataset, image, index) {
  const result = image.by[index];
  const box = document.createElement("div");
  box.className = "view";
  const stack = document.createElement("div");
  stack.className = "stack";
  stack.style.aspectRatio = image.size.join(" / ");
  stack.append(
    createLayer("picture", image.picture, `${image.modality} image ${image.name}`),
    createLayer("mistakes", result.mistakes, ""),
    createLayer("truth", image.truth, ""),
    createLayer("found", result.found, ""),
  );
  const scores = document.createElement("p");
  const mistakes = KINDS.map((kind) => `${result[kind]} ${kind}`).join(", ");
  const nuclei =
    result.true === null
      ? "the single nuclei are not known"
      : `${result.true} true and ${result.predicted} predicted nuclei: ${mistakes}`;
  scores.textContent =
    `${dataset.names[index]}: mAP ${format(result.mAP)}, IoU ${format(result.IoU)}; ${nuclei}`;
  box.append(stack, scores);
  return box;
}

function startGallery(section, dataset) {
  const control = (name) => section.querySelector(`[data-control="${name}"]`);
  const cards = section.querySelector(".cards");

  function draw() {
    const first = Number(control("first").value);
    const second = Number(control("second").value);
    const modality = control("modality").value;
    const order = ORDERS[control("order").value];
    const images = dataset.images.filter((image) => !modality || image.modality === modality);
    images.sort((a, b) => order(a, b, first, second) || (a.name < b.name ? -1 : 1));
    cards.classList.toggle("compared", second >= 0);
    cards.replaceChildren(...images.map((image) => {
      const template = document.getElementById("card").content.cloneNode(true);
      const card = template.querySelector(".card");
      card.dataset.name = image.name;
      const shown = second >= 0 ? [first, second] : [first];
      const views = shown.map((index) => createView(dataset, image, index));
      card.querySelector(".views").append(...views);
      card.querySelector("figcaption").textContent = `${image.modality} ${image.name}`;
      return card;
    }));
    section.querySelector(".number").textContent = `${images.length} images`;
  }

  function toggle(kind) {
    cards.classList.toggle(`no-${kind}`, !control(kind).checked);
  }

  for (const name of ["first", "second", "modality", "order"]) {
    control(name).addEventListener("change", draw);
  }
  for (const kind of LAYERS) {
    control(kind).addEventListener("change", () => toggle(kind));
    toggle(kind);
  }
  const enlarge = (card) => card?.classList.toggle("large");
  cards.addEventListener("click", (event) => enlarge(event.target.closest(".card")));
  cards.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches(".card")) enlarge(event.target);
  });
  draw();
}

// The keys T, F and M switch the layers of all galleries, unless a select has the focus.
document.addEventListener("keydown", (event) => {
  const kind = LAYERS.find((layer) => layer[0] === event.key.toLowerCase());
  const hasModifier = event.ctrlKey || event.metaKey || event.altKey;
  if (!kind || hasModifier || event.target.matches("select")) return;
  for (const box of document.querySelectorAll(`[data-control="${kind}"]`)) {
    box.checked = !box.checked;
    box.dispatchEvent(new Event("change"));
  }
});

for (const section of document.querySelectorAll("[data-gallery]")) {
  startGallery(section, datasets[Number(section.dataset.gallery)]);
}
