import { describe, expect, test } from 'vitest';
import type { SetBy, Why, WhyStep } from './api';
import { NBSP, slotOf } from './format';
import { bandSentence, fullSentence, missedSentence, orderSentence, partLines, priceBlocks, scale, setBySentences, whySentence } from './why';

const SLOT = slotOf(Date.UTC(2016, 6, 20, 12));
const words = (text: string) => text.replaceAll(NBSP, ' ');
const step = (given: Partial<WhyStep> = {}): WhyStep => ({ quantity_wh: 300, limit: 250_000, filled_wh: 300, rest: null, would_trade_at: null, ...given });
const by = (given: Partial<SetBy> = {}): SetBy => ({ price: 200_000, side: 'sell', limit: 200_000, filled: true, own: false, ...given });
const why = (given: Partial<Why> = {}): Why => ({
  slot: SLOT, start_ms: SLOT * 900_000, point: 'H01', bus: 'B1', retail: 288_000, feed_in: 123_100, rule: 'auction', rung: 'exact', no_market: null, price: 250_000,
  parts: { reference: 'B0', energy: 175_000, grid_fee: 20_000, congestion: 55_000 }, low: null, high: null, full: [], orders: [{ side: 'buy', steps: [step()] }], missed: [], ...given,
});
const nothing = { price: null, parts: null };

describe('the first line', () => {
  const rows: [string, Why, string][] = [
    ['traded', why(), 'From 14:00 to 14:15 a kWh between neighbours cost 25.0 ct where you are, and you bought 300 Wh at that price.'],
    ['on a plate', why({ bus: null }), 'From 14:00 to 14:15 a kWh between neighbours cost 25.0 ct, and you bought 300 Wh at that price.'],
    ['sold', why({ orders: [{ side: 'buy', steps: [step({ filled_wh: 0 })] }, { side: 'sell', steps: [step(), step()] }] }), 'From 14:00 to 14:15 a kWh between neighbours cost 25.0 ct where you are, and you sold 600 Wh at that price.'],
    ['in vain', why({ orders: [{ side: 'buy', steps: [step({ filled_wh: 0 })] }] }), 'From 14:00 to 14:15 a kWh between neighbours cost 25.0 ct where you are; none of what you ordered was traded.'],
    ['no order', why({ orders: [] }), 'From 14:00 to 14:15 a kWh between neighbours cost 25.0 ct where you are; you had sent no order.'],
    ['no trade', why(nothing), 'From 14:00 to 14:15 nothing was traded between neighbours around you, so there was no local price.'],
    ['another rule', why({ ...nothing, rule: 'mid-market' }), 'From 14:00 to 14:15 nothing was auctioned. This street shares by the rule “mid-market”: neighbours pay each other the middle of what the grid asks and pays. No order is needed, and no limit decides.'],
    ['a rule with a figure', why({ ...nothing, rule: 'allocated at 180000' }), 'From 14:00 to 14:15 nothing was auctioned. This street shares by the rule “allocated at 180000”: what the grid operator allocates is paid at the price that the members agreed on. No order is needed, and no limit decides.'],
    ['no market', why({ ...nothing, no_market: 'the orders are lost' }), 'From 14:00 to 14:15 there was no market: the orders are lost. What neighbours used of each other’s energy is shared at the middle of what the grid asks and pays.'],
  ];
  test.each(rows)('%s', (_, given, expected) => expect(words(whySentence(given, 'EUR'))).toBe(expected));

  test('what it would have been alone', () => expect(words(bandSentence(why(), 'EUR'))).toBe('The grid asked 28.8 ct for a kWh and paid 12.3 ct.'));
});

describe('the parts', () => {
  test('they are drawn end to end, and what is taken off overlaps', () => {
    const { parts } = why();
    expect(priceBlocks(parts!)).toEqual([
      { kind: 'energy', from: 0, to: 175_000, off: false },
      { kind: 'fee', from: 175_000, to: 195_000, off: false },
      { kind: 'congestion', from: 195_000, to: 250_000, off: false },
    ]);
    expect(priceBlocks({ reference: 'B0', energy: 175_000, grid_fee: -20_000, congestion: 0 }).at(-1)).toEqual({ kind: 'fee', from: 175_000, to: 155_000, off: true });
  });

  test.each([
    ['as a rule', why()],
    ['dearer than the grid', why({ price: 300_000, parts: { reference: 'B0', energy: 310_000, grid_fee: -10_000, congestion: 0 } })],
    ['below nothing', why({ feed_in: -90_000, price: -20_000, parts: { reference: 'B0', energy: -50_000, grid_fee: 30_000, congestion: 0 } })],
  ])('the picture holds them all: %s', (_, given) => {
    const at = scale(given);
    const ends = [given.feed_in, given.retail, given.price!, ...priceBlocks(given.parts!).flatMap((one) => [one.from, one.to])].map(at);
    expect(Math.min(...ends)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...ends)).toBeLessThanOrEqual(1);
    expect(at(given.feed_in)).toBeLessThan(at(given.retail));
  });

  test('each says what it is for', () => {
    const lines = partLines(why({ full: [{ name: 'L1', towards: true, energy_wh: 100 }] }), 'EUR').map((line) => words(`${line.name} ${line.value}: ${line.what}`));
    expect(lines).toEqual([
      'Energy 17.5 ct: what sellers and buyers agreed on at bus B0, where your part of the street joins the rest',
      'Grid fee 2.0 ct: for the cables between B0 and you',
      'Congestion 5.5 ct: branch L1 was full: not everybody behind could get the cheaper energy',
    ]);
    const sun = partLines(why({ parts: { reference: 'B0', energy: 175_000, grid_fee: -20_000, congestion: 0 } }), 'EUR').map((line) => words(`${line.value}: ${line.what}`));
    expect(sun.slice(1)).toEqual(['less 2.0 ct: energy flows from where you are to B0; the fee for that way is taken off', 'none: no cable on the way was full']);
    const kept = { parts: { reference: 'B0', energy: 175_000, grid_fee: 0, congestion: -30_000 }, full: ['L1', 'L2', 'L3'].map((name, i) => ({ name, towards: i === 1, energy_wh: null })) };
    expect(words(partLines(why(kept), 'EUR').at(-1)!.what)).toBe('branches L1 and L3 were full: not everybody behind could sell what others would have bought');
    expect(partLines(why({ ...kept, full: [] }), 'EUR').at(-1)!.what).toMatch(/^a cable was full: /);
    expect(partLines(why({ bus: null, parts: { reference: null, energy: 175_000, grid_fee: 0, congestion: 0 } }), 'EUR')).toHaveLength(1);
    expect(partLines(why(nothing), 'EUR')).toEqual([]);
  });
});

describe('who set it', () => {
  const rows: [string, Why, string[]][] = [
    ['one order in part', why({ low: by({ filled: true }), high: by({ filled: false }) }), ['A neighbour’s offer at 20.0 ct set the price: it was sold only in part.']],
    ['the own order', why({ low: by({ side: 'buy', filled: false, own: true }), high: by({ side: 'buy', own: true }) }), ['Your own bid at 20.0 ct set the price: it was filled only in part.']],
    [
      'a range',
      why({ low: by({ limit: 180_000 }), high: by({ price: 220_000, limit: 220_000, side: 'buy', own: true }) }),
      [
        'Any price from 20.0 ct to 22.0 ct would have fitted the same orders; the middle is taken.',
        'Any lower, and a neighbour’s offer at 18.0 ct (20.0 ct with the way to you) would not have been sold.',
        'Any higher, and your own bid at 22.0 ct would not have been made.',
      ],
    ],
    ['left over', why({ low: by({ side: 'buy', filled: false }), high: by({ filled: false, price: 220_000, limit: 220_000 }) }), [
      'Any price from 20.0 ct to 22.0 ct would have fitted the same orders; the middle is taken.',
      'Any lower, and a neighbour’s bid at 20.0 ct would have wanted more than there was.',
      'Any higher, and a neighbour’s offer at 22.0 ct would have sold more than was wanted.',
    ]],
    ['nobody', why({ ...nothing }), ['Nobody who could be reached wanted to buy.', 'Nobody who could be reached had energy to sell.']],
    ['apart', why({ ...nothing, low: by({ side: 'buy', limit: 150_000, price: 150_000, filled: false, own: true }), high: by({ filled: false }) }), ['Nobody bid more than you, 15.0 ct.', 'The cheapest offer that could reach you was 20.0 ct.']],
    ['no market', why({ ...nothing, no_market: 'x' }), []],
  ];
  test.each(rows)('%s', (_, given, expected) => expect(setBySentences(given, 'EUR').map(words)).toEqual(expected));

  test('a full branch says what it carries, unless that would tell on a neighbour', () => {
    expect(words(fullSentence({ name: 'L1', towards: true, energy_wh: 100 }))).toBe('Branch L1 carried all it may, towards you: 100 Wh in the quarter-hour.');
    expect(fullSentence({ name: 'L1', towards: false, energy_wh: null })).toBe('Branch L1 carried all it may, away from you.');
  });
});

describe('your part in it', () => {
  const rows: [string, 'buy' | 'sell', Partial<WhyStep>, string][] = [
    ['all', 'buy', {}, 'You bid for 300 Wh at up to 25.0 ct and bought all of it.'],
    ['too low', 'buy', { filled_wh: 0, rest: 'limit', would_trade_at: 262_000 }, 'You bid for 300 Wh at up to 25.0 ct and bought nothing of it: the price was above your limit. At 26.2 ct or more you would have bought.'],
    ['too dear', 'sell', { filled_wh: 0, rest: 'limit', would_trade_at: 200_000 }, 'You offered 300 Wh for at least 25.0 ct and sold nothing of it: the price was below your limit. At 20.0 ct or less you would have sold.'],
    ['shared', 'buy', { filled_wh: 100, rest: 'volume', would_trade_at: null }, 'You bid for 300 Wh at up to 25.0 ct and bought 100 Wh: your limit was just the price, and there was not enough energy for all who had it, so they shared. At no limit would you have bought more.'],
    ['nobody there', 'sell', { filled_wh: 0, rest: 'no_trade', would_trade_at: null }, 'You offered 300 Wh for at least 25.0 ct and sold nothing of it: no bid that could reach you met it. At no limit would you have sold.'],
    ['no market', 'buy', { filled_wh: 0, rest: 'no_market' }, 'You bid for 300 Wh at up to 25.0 ct and bought nothing of it: there was no market.'],
  ];
  test.each(rows)('%s', (_, side, given, expected) => expect(words(orderSentence(why(), { side, steps: [step(given)] }, 'EUR'))).toBe(expected));

  test('a curve is said in one sentence, by the first step that was left over', () => {
    const steps = [step({ quantity_wh: 124, limit: 240_180, filled_wh: 124 }), step({ quantity_wh: 6, limit: 169_930, filled_wh: 6 }), step({ quantity_wh: 4, limit: 146_520, filled_wh: 0, rest: 'limit', would_trade_at: 152_480 }), step({ quantity_wh: 4, limit: 140_000, filled_wh: 0, rest: 'limit', would_trade_at: 152_490 })];
    expect(words(orderSentence(why(), { side: 'buy', steps }, 'EUR'))).toBe('You bid for 138 Wh, in 4 steps from 24.018 ct to 14.0 ct, and bought 130 Wh: the price was above the next limit, 14.652 ct. At 15.248 ct or more you would have bought more.');
    expect(words(orderSentence(why(), { side: 'buy', steps: steps.slice(0, 2) }, 'EUR'))).toBe('You bid for 130 Wh, in 2 steps from 24.018 ct to 16.993 ct, and bought all of it.');
  });

  test('energy of one step that all at the price share', () => {
    const steps = [step({ limit: 149_480, quantity_wh: 900, filled_wh: 666, rest: 'volume' }), step({ limit: 176_000, filled_wh: 0, rest: 'limit' })];
    expect(words(orderSentence(why(), { side: 'sell', steps }, 'EUR'))).toBe('You offered 1.20 kWh, in 2 steps from 14.948 ct to 17.6 ct, and sold 666 Wh: the limit of 14.948 ct was just the price, and there was not enough demand for all who had it, so they shared. At no limit would you have sold more.');
  });

  test('a full cable is why no limit helps', () => {
    const told = why({ full: [{ name: 'L1', towards: true, energy_wh: 100 }] });
    expect(orderSentence(told, { side: 'buy', steps: [step({ filled_wh: 100, rest: 'volume' })] }, 'EUR')).toMatch(/At no limit would you have bought more, because a cable was full\.$/);
  });

  test('without an order it says what one would have done', () => {
    expect(words(missedSentence({ side: 'buy', quantity_wh: 320, would_trade_at: 195_000 }, 'EUR'))).toBe('You had sent no order to buy, and your meter counted 320 Wh in. A bid at 19.5 ct or more would have bought some of it.');
    expect(words(missedSentence({ side: 'sell', quantity_wh: 320, would_trade_at: null }, 'EUR'))).toBe('You had sent no order to sell, and your meter counted 320 Wh out. No offer would have found a buyer.');
  });
});
