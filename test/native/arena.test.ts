/** Places in the arena: nobody is written over while others still need it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../src/data/random.ts';
import { arrange, type Tenant } from '../../src/native/arena.ts';

const random = Random.stream(0, 'arena');

/** Tenants of any size, those of a kind all of the same: what they leave zero lies at the same places. */
function randomTenants(): Tenant[] {
  const sizes: Record<string, number> = { a: 1 + random.integer(2000), b: 64 * (1 + random.integer(4)) };
  const moments = 1 + random.integer(30);
  return Array.from({ length: random.integer(60) }, () => {
    const kind = ['', '', '', 'a', 'b'][random.integer(5)]!;
    const from = random.integer(moments);
    const to = Math.min(moments - 1, from + random.integer(1 + random.integer(moments)));
    const bytes = sizes[kind] ?? random.integer(1 + random.integer(5000));
    return { bytes, from, to, kind };
  });
}

test('those alive at the same time never overlap, kinds never do, and one kind shares whole rooms', () => {
  let shared = 0;
  for (let trial = 0; trial < 500; trial++) {
    const tenants = randomTenants();
    const start = 64 * random.integer(5);
    const { places, end } = arrange(tenants, start);
    assert.equal(places.size, tenants.length);
    for (const [i, tenant] of tenants.entries()) {
      const place = places.get(tenant)!;
      assert.equal(place % 64, 0);
      assert.ok(place >= start && place + tenant.bytes <= end);
      for (const other of tenants.slice(i + 1)) {
        const there = places.get(other)!;
        const overlaps = place < there + other.bytes && there < place + tenant.bytes;
        if (!overlaps) continue;
        shared++;
        assert.ok(tenant.to < other.from || other.to < tenant.from, 'alive at the same time');
        assert.equal(tenant.kind, other.kind);
        if (tenant.kind !== '') assert.equal(place, there);
      }
    }
  }
  assert.ok(shared > 5000);
});

test('a chain of values takes the room of two', () => {
  const chain = Array.from(
    { length: 100 },
    (_, i): Tenant => ({ bytes: 1000, from: i, to: i + 1, kind: '' }),
  );
  assert.equal(arrange(chain, 0).end, 2 * 1024);
});

test('what has no elements has a place, too', () => {
  const { places, end } = arrange([{ bytes: 0, from: 0, to: 0, kind: '' }], 128);
  assert.deepEqual([[...places.values()], end], [[128], 192]);
});
