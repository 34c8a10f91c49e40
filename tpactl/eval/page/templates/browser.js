// The error browser: filters, sorts and draws the utterances in the page's JSON block.
// Transcripts are put in as text, never as markup.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("b-data").textContent);
  const words = data.words;
  const field = (name) => document.getElementById("b-" + name);
  const value = (name) => (field(name) ? field(name).value : "");
  const list = field("list");
  // The recordings stand in the page once, in the players above.
  const sound = new Map(
    [...document.querySelectorAll("audio[data-id]")].map((player) => [player.dataset.id, player.src]),
  );
  const PAGE = 20;
  let shown = [];
  let drawn = 0;
  document.documentElement.classList.add("has-script");

  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, key) => values[key]);
  const several = (text, values) =>
    fill(typeof text === "string" ? text : values.n === 1 ? text.one : text.other, values);

  for (const [index, row] of data.utterances.entries()) {
    row.index = index;
    const line = (pairs, half) => pairs
      .map((pair) => (typeof pair === "string" ? pair : pair[half])).filter(Boolean)
      .join(data.between);
    const heard = Object.values(row.heard);
    row.text = [
      row.id, row.reference, line(heard[0].pairs, 0), ...heard.map((one) => line(one.pairs, 1)),
    ].join(" ").toLowerCase();
  }

  const errors = (row, system) => (row.heard[system] ? row.heard[system].errors : 0);
  const change = (row, system) => errors(row, system) - errors(row, data.base);
  const FILTERS = {
    all: () => true,
    wrong: (row, system) => errors(row, system) > 0,
    worse: (row, system) => change(row, system) > 0,
    better: (row, system) => change(row, system) < 0,
  };
  const SORTS = {
    errors: (a, b, system) => errors(b, system) - errors(a, system),
    rate: (a, b, system) =>
      errors(b, system) / Math.max(b.length, 1) - errors(a, system) / Math.max(a.length, 1),
    harmed: (a, b, system) => change(b, system) - change(a, system),
    helped: (a, b, system) => change(a, system) - change(b, system),
    longest: (a, b) => b.duration - a.duration,
    order: () => 0,
  };

  function drawPair(pair) {
    const [reference, heard] = typeof pair === "string" ? [pair, pair] : pair;
    const kind = typeof pair === "string" ? "hit"
      : !reference ? "insertion" : heard ? "substitution" : "deletion";
    const made = element("span", "pair " + kind);
    made.append(element("bdi", "ref", reference || "·"), element("bdi", "hyp", heard || "·"));
    return made;
  }

  function draw(row) {
    const card = element("li", "utterance");
    card.tabIndex = -1;
    const head = element("div", "who");
    const said = element("b");
    said.dir = "auto";
    said.append(element("bdi", "", row.reference || words.no_words));
    head.append(said);
    const who = element("div", "who");
    who.append(element("bdi", "", row.id));
    if (row.speaker) {
      const speaker = element("span", "", words.speaker + " ");
      speaker.append(element("bdi", "", row.speaker));
      who.append(speaker);
    }
    who.append(element("span", "", row.shown_duration));
    card.append(head, who);
    if (sound.has(row.id)) {
      const player = element("audio");
      player.controls = true;
      player.preload = "none";
      player.src = sound.get(row.id);
      player.setAttribute("aria-label", fill(words.recording_of, { id: row.id }));
      card.append(player);
    }
    for (const name of data.systems) {
      const heard = row.heard[name];
      if (!heard) continue;
      const line = element("div", "heard");
      const system = element("div", "system");
      const bold = element("b");
      bold.append(element("bdi", "", name));
      system.append(bold, several(words.errors_in_words, { n: heard.errors, length: row.length }));
      const text = heard.pairs.map((pair) => (typeof pair === "string" ? pair : pair[1]))
        .filter(Boolean).join(data.between);
      const aligned = element("div", "aligned");
      aligned.dir = row.direction;
      aligned.setAttribute("aria-hidden", "true");
      aligned.append(...heard.pairs.map(drawPair));
      const cell = element("div");
      cell.append(
        element("span", "unseen", fill(words.heard_as, { text: text || words.nothing })), aligned,
      );
      line.append(system, cell);
      card.append(line);
    }
    return card;
  }

  function drawMore() {
    list.append(...shown.slice(drawn, drawn + PAGE).map(draw));
    drawn = Math.min(drawn + PAGE, shown.length);
    field("more").hidden = drawn >= shown.length;
  }

  function update() {
    const system = value("system");
    const text = value("text").trim().toLowerCase();
    const speaker = value("speaker");
    const keep = FILTERS[value("show")];
    const order = SORTS[value("sort")];
    shown = data.utterances
      .filter((row) => keep(row, system) && (!speaker || row.speaker === speaker) &&
        (!text || row.text.includes(text)))
      .sort((a, b) => order(a, b, system) || a.index - b.index);
    list.replaceChildren();
    drawn = 0;
    drawMore();
    field("count").textContent = several(words.found, { n: shown.length });
  }

  function step(by) {
    const cards = [...list.children];
    const now = cards.indexOf(document.activeElement.closest?.("#b-list > li") ?? null);
    let next = now < 0 ? (by > 0 ? 0 : cards.length - 1) : now + by;
    if (next >= cards.length && drawn < shown.length) drawMore();
    next = Math.max(0, Math.min(next, list.children.length - 1));
    const card = list.children[next];
    if (card) {
      card.focus({ preventScroll: true });
      card.scrollIntoView({ block: "nearest" });
    }
  }

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea");
    if (event.key === "Escape" && typing) { typing.blur(); return; }
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "/") field("text").focus();
    else if (event.key === "p") {
      const player = document.activeElement.closest?.("li.utterance")?.querySelector("audio");
      if (!player) return;
      if (player.paused) player.play(); else player.pause();
    } else return;
    event.preventDefault();
  });
  for (const name of ["text", "system", "show", "speaker", "sort"]) {
    if (field(name)) field(name).addEventListener("input", update);
  }
  document.querySelector("form.controls").addEventListener("submit", (e) => e.preventDefault());
  field("more").addEventListener("click", () => {
    const first = drawn;
    drawMore();
    list.children[first]?.focus();
  });
  update();
})();
