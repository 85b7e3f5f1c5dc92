/** A class's colours: the line on the picture, and text on a chip of that colour. */
export interface ClassColour {
  line: string;
  text: string;
}

// Bright enough for a line over any picture (a dark edge goes beneath), told apart also by the common colour-blindnesses
// where neighbours are frequent classes. The text is the ink that gives at least 4.5:1.
const INK = "#10161a";
const PALETTE: readonly ClassColour[] = [
  "#4cc9f0",
  "#ffb703",
  "#80d39b",
  "#f28482",
  "#c8b6ff",
  "#ffd97d",
  "#64dfdf",
  "#f4a261",
  "#a3cef1",
  "#e5989b",
  "#b5e48c",
  "#d0a5d8",
].map((line) => ({ line, text: INK }));

const FREQUENT = ["person", "car", "bicycle", "truck", "bus", "motorcycle"];

/** The colour of a class: the same for the same name, on every camera and with every model. */
export function classColour(name: string): ClassColour {
  const frequent = FREQUENT.indexOf(name);
  let index = frequent;
  if (frequent < 0) {
    let hash = 0;
    for (const char of name) hash = (hash * 31 + (char.codePointAt(0) ?? 0)) >>> 0;
    index = FREQUENT.length + (hash % (PALETTE.length - FREQUENT.length));
  }
  return PALETTE[index] ?? { line: "#ffffff", text: INK };
}
