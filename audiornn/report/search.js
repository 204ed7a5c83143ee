// The search over the recordings of the page: every word must occur in a recording's path or notes.
const MAX_SHOWN = 100;
const recordings = JSON.parse(document.querySelector("script[type='application/json']").textContent);
const search = document.querySelector("[role=search]");
const [input, count, table] = ["input", "output", "table"].map((name) => search.querySelector(name));

function cell(text, element = "td") {
  const made = document.createElement(element);
  made.textContent = text ?? "";
  return made;
}

function row([path, used, seconds, rate, channels, notes]) {
  const made = document.createElement("tr");
  const name = document.createElement("td");
  name.append(cell(path, "code"));
  made.append(name, cell(used ? "yes" : "no"), cell(seconds), cell(rate), cell(channels), cell(notes));
  return made;
}

function show() {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = recordings.filter(([path, , , , , notes]) => {
    const text = `${path} ${notes}`.toLowerCase();
    return words.length && words.every((word) => text.includes(word));
  });
  const more = found.length > MAX_SHOWN ? `; the first ${MAX_SHOWN} are shown` : "";
  count.textContent = words.length ? `${found.length} of ${recordings.length} recordings${more}` : "";
  table.hidden = !found.length;
  table.tBodies[0].replaceChildren(...found.slice(0, MAX_SHOWN).map(row));
}

search.hidden = false;
input.addEventListener("input", show);
show();
