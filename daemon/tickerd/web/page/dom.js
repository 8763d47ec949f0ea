// Elements, made and filled without markup: what comes from the server is text and stays text.

export const $ = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name.includes("-") || name === "role" || name === "scope") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Writes only what differs: readers' screens and the layout are left alone otherwise.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Of the buttons of a group the one that is chosen.
export function press(group, chosen) {
  for (const button of group.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button === chosen));
  }
}

export function store(key, value) {
  try {
    if (value === undefined) return JSON.parse(localStorage.getItem(`tickerd.${key}`));
    localStorage.setItem(`tickerd.${key}`, JSON.stringify(value));
  } catch {
    // A browser that keeps nothing only forgets the choice.
  }
  return null;
}
