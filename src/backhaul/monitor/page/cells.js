// Elements with a text, and cells of tables. A cell changes only if its content does, so that a selection survives.

export function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

export function part(tag, role) {
  const made = document.createElement(tag);
  made.setAttribute("role", role); // explicit, because browsers do not see a table in the narrow layout
  return made;
}

/** Return the lines of a cell with numbers [from users, to users]. */
export function ways(pair, written) {
  if (!pair) return [["span", "–"]];
  return [["span", written(pair[1]), "way", "↓", "to users"], ["span", written(pair[0]), "way", "↑", "from users"]];
}

/** Put lines of [tag, text, class, arrow, its meaning] into a cell; touch it only if they changed. */
export function put(cell, lines) {
  const key = JSON.stringify(lines);
  if (cell.dataset.shown === key) return;
  const focused = [...cell.querySelectorAll("button")].indexOf(document.activeElement);
  cell.dataset.shown = key;
  cell.replaceChildren(...lines.map(([tag, text, className = "", arrow = "", meaning = ""]) => {
    const made = document.createElement(tag);
    made.className = className;
    if (tag === "button") made.type = "button";
    if (arrow) made.append(symbol(arrow, meaning), " ");
    made.append(text);
    return made;
  }));
  cell.querySelectorAll("button")[focused]?.focus();
}

/** Set the rows of a table; touch it only if they changed. */
export function place(body, lines) {
  const same = body.children.length === lines.length && lines.every((line, index) => body.children[index] === line);
  if (!same) body.replaceChildren(...lines);
}

function symbol(arrow, meaning) {
  const made = document.createElement("i");
  made.textContent = arrow;
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", meaning);
  made.title = meaning;
  return made;
}

/** Leave one button of a list in the tab order; arrow keys reach the others. */
export function rove(list) {
  const steps = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };
  list.addEventListener("keydown", (event) => {
    const buttons = [...list.querySelectorAll("button")];
    const present = buttons.indexOf(document.activeElement);
    if (present < 0 || !(event.key in steps)) return;
    event.preventDefault();
    buttons[Math.max(0, Math.min(buttons.length - 1, present + steps[event.key]))].focus();
  });
  list.addEventListener("focusin", () => mark(list));
  new MutationObserver(() => mark(list)).observe(list, { childList: true, subtree: true });
}

function mark(list) {
  const buttons = [...list.querySelectorAll("button")];
  const chosen = buttons.find((button) => button === document.activeElement) ?? buttons.find((button) => button.getAttribute("tabindex") === "0") ?? buttons[0];
  for (const button of buttons) {
    const index = button === chosen ? 0 : -1;
    if (button.getAttribute("tabindex") !== String(index)) button.setAttribute("tabindex", String(index));
  }
}
