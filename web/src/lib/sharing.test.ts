import { describe, expect, it } from 'vitest';
import type { StatementRow } from './api';
import { fixedParts, keyWords, legalSums, legalWords, ruleWords } from './sharing';

const row = (import_wh: number, export_wh: number, legal: object | null) => ({ import_wh, export_wh, sharing: { rule: 'mid-market', key: 'static', pays_nano: 0, gets_nano: 0, legal } }) as unknown as StatementRow;

describe('sharing in words', () => {
  it('says every rule and key', () => {
    for (const rule of ['none', 'auction', 'mid-market', 'supply-demand', 'bill-sharing per interval', 'allocated at the middle']) expect(ruleWords(rule, 'EUR')).not.toContain('“');
    for (const key of ['none', 'pro-rata', 'static', 'cascade', 'hierarchical', 'pairs']) expect(keyWords(key)).not.toContain('“');
    expect(ruleWords('allocated at 180000', 'EUR')).toContain('18.00\u00a0ct/kWh, as agreed');
    expect(ruleWords('by feel', 'EUR')).toContain('“by feel”');
  });

  it('lists fixed parts by size', () => {
    const form = { rule: 'auction', key: { static: { keys: { C2: 250_000, C1: 250_000, C3: 500_000 }, rounds: 1 } } };
    expect(fixedParts({ rule: 'auction', key: 'static', takes_orders: true, form })).toEqual([['C3', 50], ['C1', 25], ['C2', 25]]);
    expect(fixedParts({ rule: 'auction', key: 'pro-rata', takes_orders: true, form: { rule: 'auction', key: 'pro-rata' } })).toEqual([]);
  });

  it('tells law and neighbours apart', () => {
    const legal = { taken_wh: 113, given_wh: 0, residual_nano: 59_616_000, shortfall_nano: 4_071_605, difference_nano: 21_957_827 };
    const sums = legalSums([row(320, 0, legal), row(100, 0, null)])!;
    expect(sums).toMatchObject({ slots: 1, taken: 113, imported: 320, residual: 59_616_000 });
    const words = legalWords(sums, 'EUR').map((text) => text.replaceAll('\u00a0', ' '));
    expect(words[0]).toBe('In law, 113 Wh of the 320 Wh you used came from neighbours.');
    expect(words[1]).toBe('For the rest you pay €0.06 to the supplier.');
    expect(words[2]).toContain('you pay €0.02 to them');
    expect(words[3]).toContain('your part of what the allocation leaves');
    const all = legalSums([row(284, 0, { ...legal, taken_wh: 284, residual_nano: 0 })])!;
    expect(legalWords(all, 'EUR')[1]).toBe('The supplier bills you nothing.');
    expect(legalSums([row(100, 0, null)])).toBeNull();
  });
});
