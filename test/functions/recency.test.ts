/** The order of use, against a list that is sorted by hand. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { Recency, type Place } from '../../src/functions/decide/recency.ts';

type Step = { readonly what: 'add' } | { readonly what: 'use' | 'remove'; readonly at: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.constant({ what: 'add' } as const),
  fc.record({ what: fc.constantFrom('use' as const, 'remove' as const), at: fc.nat() }),
);

test('the oldest is the one whose last use is longest ago, whatever was added, used and removed', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const recency = new Recency<number>();
      /** oldest first */
      let model: Place<number>[] = [];
      let next = 0;
      for (const each of steps) {
        const place = each.what === 'add' ? undefined : model[each.at % Math.max(1, model.length)];
        if (each.what === 'add') model.push(recency.add(next++));
        else if (place !== undefined) {
          model = model.filter((other) => other !== place);
          if (each.what === 'remove') recency.remove(place);
          else {
            recency.use(place);
            model.push(place);
          }
        }
        assert.equal(recency.size, model.length);
        assert.equal(recency.oldest, model[0]?.thing ?? null);
      }
      // taken out one by one, they come in order of use
      for (const place of model) {
        assert.equal(recency.oldest, place.thing);
        recency.remove(place);
      }
      assert.equal(recency.oldest, null);
    }),
  );
});
