/** The colours that things come in, by the names that the model knows, and how the page shows each. */
export const colors = {
  red: "#e03131",
  orange: "#f08c00",
  yellow: "#f5d000",
  green: "#2f9e44",
  blue: "#1c6fd6",
  purple: "#8a3ffc",
  pink: "#f06fae",
  black: "#26262b",
} as const;

export type ColorName = keyof typeof colors;

export const colorNames = Object.keys(colors) as ColorName[];
