// Boxes are measured with this font before they stand on the page.
export const FONT_FAMILY = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
export const FONT_SIZE = 13;
