/** The pages charts are drawn on: headings, elements and numbers of standalone SVG files. */

export const width = 720;
export const padding = 16;
const font = 'Helvetica Neue, Helvetica, Arial, Liberation Sans, DejaVu Sans Condensed, sans-serif';

export const colors = {
  ink: '#1f2328',
  muted: '#656d76',
  grid: '#e6e8eb',
  truth: '#c3c8ce',
  before: '#c2571a',
  after: '#1d6fb8',
  right: '#1a7f37',
  wrong: '#cf222e',
  /** One after the other for the series of a chart; all are dark enough for text on white. */
  series: [
    ...['#1d6fb8', '#c2571a', '#1a7f5a', '#8250c4', '#b3326b'],
    ...['#806000', '#0e7c86', '#7a4a2b', '#3f4a8a', '#656d76'],
  ],
} as const;

/** The whole file: a white page with `parts` on it. */
export function page(title: string, height: number, parts: readonly string[], pageWidth = width): string {
  const box = { width: pageWidth, height, viewBox: `0 0 ${pageWidth} ${round(height)}` };
  const style = { 'font-family': font, 'font-size': 12, fill: colors.ink };
  return `${tag(
    'svg',
    { xmlns: 'http://www.w3.org/2000/svg', ...box, ...style, role: 'img', 'aria-label': title },
    tag('rect', { width: pageWidth, height, fill: 'white' }),
    ...parts,
  )}\n`;
}

/** Title, subtitle and a further line, wrapped and left-aligned, and the height they take. */
export function heading(title: string, subtitle = '', pageWidth = width, further = '') {
  const lines: string[] = [];
  let y = 10;
  const write = (content: string, size: number, style: Attributes) => {
    for (const line of wrap(content, size, pageWidth - 2 * padding)) {
      y += size * 1.4;
      lines.push(text(padding, y, line, { 'font-size': size, ...style }));
    }
  };
  write(title, 17, { 'font-weight': 600 });
  write(subtitle, 13, { fill: colors.muted });
  write(further, 13, { fill: colors.muted });
  return { svg: lines.join(''), height: Math.ceil(y) + 14 };
}

function wrap(content: string, size: number, available: number): string[] {
  const lines: string[] = [];
  for (const word of content.split(/\s+/).filter(Boolean)) {
    const longer = `${lines.at(-1) ?? ''} ${word}`.trim();
    if (lines.length > 0 && textWidth(longer, size) <= available) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

/** What Plot drew, without its HTML style sheet and with short numbers. */
export function drawn(plot: Element): string {
  for (const style of plot.querySelectorAll('style')) style.remove();
  for (const element of plot.querySelectorAll('*')) {
    for (const name of ['d', 'transform', 'x', 'y', 'x1', 'x2', 'y1', 'y2', 'cx', 'cy', 'width', 'height']) {
      const value = element.getAttribute(name);
      if (value !== null) {
        element.setAttribute(
          name,
          value.replace(/-?[\d.]+(e[-+]?\d+)?/g, (number) => round(Number(number))),
        );
      }
    }
  }
  return tag('g', { 'text-anchor': 'middle' }, plot.innerHTML);
}

export type Attributes = Record<string, string | number>;

/** An element; `children` are SVG already, attribute values are not. */
export function tag(name: string, attributes: Attributes, ...children: readonly string[]): string {
  const list = Object.entries(attributes).map(
    ([key, value]) => ` ${key}="${typeof value === 'number' ? round(value) : escapeXml(value)}"`,
  );
  const open = `<${name}${list.join('')}`;
  return children.length === 0 ? `${open}/>` : `${open}>${children.join('')}</${name}>`;
}

export function text(x: number, y: number, content: string, attributes: Attributes = {}): string {
  return tag('text', { x, y, ...attributes }, escapeXml(content));
}

function escapeXml(content: string): string {
  const entities: Record<string, string> = { '<': '&lt;', '>': '&gt;', '&': '&amp;', '"': '&quot;' };
  return content
    .replace(/[\p{Cc}\p{Cs}]/gu, ' ') // control characters and half surrogates are not allowed in XML
    .replace(/[<>&"]/g, (character) => entities[character]!);
}

/** At most two decimals, so that files are small and stay the same from machine to machine. */
export function round(value: number): string {
  return String(Math.round(value * 100) / 100 + 0); // + 0 makes −0 a 0
}

/** A text's width in px, estimated for bold Helvetica: there is no font to measure. */
export function textWidth(content: string, size: number): number {
  let ems = 0;
  for (const character of content) {
    if (/[\sfijlrtI.,:;'|()/-]/.test(character)) ems += 0.33;
    else ems += /[A-Zmw%…→]/.test(character) ? 0.82 : 0.58;
  }
  return ems * size;
}

export function shorten(content: string, length: number): string {
  return content.length > length ? `${content.slice(0, length - 1)}…` : content;
}
