/** What every picture of the project is held to. */
import assert from 'node:assert/strict';

/** Asserts that `svg` is one well-formed, standalone picture with short numbers. */
export function checkSvg(svg: string): void {
  assert.match(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" width="\d+" height="[\d.]+" viewBox="/);
  const open: string[] = [];
  const entity = /&(lt|gt|amp|quot|#\d+);/g;
  const token = /<([a-z]+)((?: [\w:-]+="[^"<]*")*) ?(\/?)>|<\/([a-z]+)>|([^<>]+)/y;
  const text = svg.trimEnd();
  while (token.lastIndex < text.length) {
    const at = token.lastIndex;
    const match = token.exec(text);
    assert.ok(match, `not XML at: ${text.slice(at, at + 80)}`);
    const [, start, attributes = '', selfClosing, end, characters = ''] = match;
    assert.ok(!(attributes + characters).replace(entity, '').includes('&'), `raw & in: ${match[0]}`);
    const names = [...attributes.matchAll(/ ([\w:-]+)=/g)].map(([, name]) => name);
    assert.equal(new Set(names).size, names.length, `attribute twice in: ${match[0]}`);
    const long = attributes.replace(/href="[^"]*"/, '').match(/\d+\.\d{3,}/);
    assert.equal(long, null, 'numbers have at most two decimals');
    if (start !== undefined && selfClosing === '') open.push(start);
    if (end !== undefined) assert.equal(open.pop(), end);
    assert.ok(open.length > 0 || token.lastIndex === text.length, 'more than one root');
  }
  assert.deepEqual(open, []);
  assert.ok(!/[\p{Cc}\p{Cs}]/u.test(text), 'a control character is not XML');
  assert.ok(!/NaN|undefined|Infinity/.test(text));
  // Self-contained: nothing is fetched, from a style sheet, a link or an image.
  assert.ok(!/<(style|script|link|use)\b|url\(/.test(text));
  for (const [, href] of text.matchAll(/href="([^"]*)"/g)) assert.match(href!, /^data:image\/png;base64,/);
}
